"""A Modelfile, with which Ollama takes a GGUF file over: template, stop tokens, settings.

Ollama writes conversations by templates of Go, not of Jinja. A chat template is translated where
it is a row of blocks: each message adds what stands before its content, the content, and what
stands behind it, by its role alone. Whether it is, is found by rendering conversations; what is
not is said, and left to what Ollama finds in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmwright.core.errors import InputError
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FILE = "Modelfile"
ROLES = ("system", "user", "assistant")
# Contents that no template writes, one of them with spaces around it, which some take away.
MARKS = ("\u2042one\u2042", " \u2042two\u2042 ", "\u2042three\u2042\n")
# What would end Go's text, or the Modelfile's.
SPECIAL = ("{{", "}}", '"""')


@dataclass(frozen=True)
class Blocks:
    """A chat template as a row of blocks.

    Attributes:
        lead: What stands before all where the first message is none of the system.
        around: Role → what stands before and behind a content.
        ask: What stands behind all, where the assistant is to answer.
    """

    lead: str
    around: dict[str, tuple[str, str]]
    ask: str

    def render(self, messages: chat.Messages) -> str:
        """Return what Ollama makes of a conversation."""
        lead = "" if messages[0]["role"] == "system" else self.lead
        pieces = [
            before + message["content"] + behind
            for message in messages
            for before, behind in [self.around[message["role"]]]
        ]
        return lead + "".join(pieces) + self.ask

    def go(self) -> str:
        """Return the template in Go's words."""
        lead = f'{{{{ if ne (index .Messages 0).Role "system" }}}}{self.lead}{{{{ end }}}}'
        branches = "".join(
            f'{{{{ {"else " if number else ""}if eq .Role "{role}" }}}}{before}'
            f"{{{{ .Content }}}}{behind}"
            for number, (role, (before, behind)) in enumerate(self.around.items())
        )
        body = f"{{{{ range .Messages }}}}{branches}{{{{ end }}}}{{{{ end }}}}{self.ask}"
        return (lead if self.lead else "") + body


def modelfile(
    file: str, contract: Contract, tokenizer: PreTrainedTokenizerFast, context: int
) -> tuple[str, bool]:
    """Return a Modelfile, and whether the template in it says what the model's own says.

    Args:
        file: Name of the GGUF file beside it.
        contract: Of the model.
        tokenizer: Has the chat template.
        context: Most tokens of a text.
    """
    template = template_for(contract, tokenizer)
    lines = [f"FROM ./{file}"]
    if template is None:
        lines.append("# No TEMPLATE: the model's own cannot be said in Go; Ollama guesses one.")
    else:
        lines.append(f'TEMPLATE """{template}"""')
    wanted = contract.generation
    settings: dict[str, float | int] = {
        "num_ctx": context,
        "num_predict": wanted.max_new_tokens,
        "temperature": wanted.temperature,
        "top_k": wanted.top_k,
        "top_p": wanted.top_p,
        "min_p": wanted.min_p,
        "repeat_penalty": wanted.repetition_penalty,
        "presence_penalty": wanted.presence_penalty,
        "frequency_penalty": wanted.frequency_penalty,
    }
    lines += [f"PARAMETER {name} {value}" for name, value in settings.items()]
    for stop in contract.stop_token_ids:
        text = str(tokenizer.convert_ids_to_tokens(stop)).replace('"', '\\"')
        lines.append(f'PARAMETER stop "{text}"')
    return "\n".join(lines) + "\n", template is not None


def template_for(contract: Contract, tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Return the model's template in Go's words; None where it cannot be said in them."""
    if contract.row_type != "messages":
        lead = str(tokenizer.bos_token) if contract.begins_with_bos else ""
        return None if contract.controls else f"{lead}{{{{ .Prompt }}}}"
    blocks = blocks_of(tokenizer)
    if blocks is None:
        return None
    pieces = [blocks.lead, blocks.ask, *(text for pair in blocks.around.values() for text in pair)]
    return None if any(sign in text for text in pieces for sign in SPECIAL) else blocks.go()


def blocks_of(tokenizer: PreTrainedTokenizerFast) -> Blocks | None:
    """Return a chat template as a row of blocks; None where it is none."""
    try:
        found = _measured(tokenizer)
        same = found is not None and all(
            chat.render(tokenizer, messages, prompt=True) == found.render(messages)
            for messages in _conversations()
        )
    except InputError:
        return None
    return found if same else None


def _conversations() -> list[chat.Messages]:
    """Return conversations of all shapes that end where the assistant answers."""
    one, two, three = MARKS
    turns = [("user", one), ("assistant", two), ("user", three), ("assistant", one), ("user", two)]
    found = []
    for length in (1, 3, 5):
        messages = [{"role": role, "content": content} for role, content in turns[:length]]
        found += [messages, [{"role": "system", "content": three}, *messages]]
    return found


def _measured(tokenizer: PreTrainedTokenizerFast) -> Blocks | None:
    """Return the blocks that a conversation grows by, message by message."""
    mark = MARKS[0]
    turns = [{"role": role, "content": mark} for role in (*ROLES, "user")]
    texts = [chat.render(tokenizer, turns[: count + 1]) for count in range(len(turns))]
    alone = chat.render(tokenizer, turns[1:2])
    ask = chat.render(tokenizer, turns, prompt=True)
    grown = [text.removeprefix(before) for before, text in zip(["", *texts], texts, strict=False)]
    if not all(text.startswith(before) for before, text in zip(texts, texts[1:], strict=False)):
        return None
    if not ask.startswith(texts[-1]) or not alone.endswith(grown[1]):
        return None
    around = {}
    for role, block in zip(ROLES, grown, strict=False):
        before, found, behind = block.partition(mark)
        if not found:
            return None
        around[role] = (before, behind)
    lead = alone.removesuffix(grown[1])
    return Blocks(lead, around, ask.removeprefix(texts[-1]))
