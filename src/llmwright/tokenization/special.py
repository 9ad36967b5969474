"""Special tokens: which ones a tokenizer has, what it puts around a text, how a chat is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmwright.tokenization.config import SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

Frame = Literal["none", "eos", "bos_eos", "cls_sep"]

# Each turn is `<bos>role⏎content<eos>⏎`, as in ChatML: one stop token for texts and chats alike.
# The generation block marks what the assistant said, so that a loss mask can be read from it.
CHATML = (
    "{% for message in messages %}"
    "{{ bos_token + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token + 'assistant\\n' }}{% endif %}"
)
# What the template writes besides the messages; a vocabulary for chats must hold these words.
CHAT_ROLES = ("system\n", "user\n", "assistant\n", "tool\n")

# How published tokenizers write their special tokens, where a bare file does not name their roles.
USUAL_NAMES = {
    "pad_token": ("<pad>", "[PAD]", "<|pad|>", "<|padding|>"),
    "unk_token": ("<unk>", "[UNK]", "<|unk|>"),
    "bos_token": ("<bos>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"),
    "eos_token": ("<eos>", "</s>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"),
    "cls_token": ("<cls>", "[CLS]"),
    "sep_token": ("<sep>", "[SEP]"),
    "mask_token": ("<mask>", "[MASK]"),
}

# Key in tokenizer_config.json that holds the text steps which must run before the tokenizer.
STEPS_KEY = "text_steps"


@dataclass(frozen=True)
class Framing:
    """What a new tokenizer knows besides text.

    Attributes:
        special: How special tokens are written.
        frame: What is put around a text when special tokens are asked for.
        chat_template: Jinja text, or None.
    """

    special: SpecialTokens = SpecialTokens()
    frame: Frame = "none"
    chat_template: str | None = None

    def tokens(self) -> list[str]:
        """Return the special tokens in the order of their ids, padding first."""
        names = ["pad", "unk", "bos", "eos"]
        if self.frame == "cls_sep":
            names += ["cls", "sep", "mask"]
        return [getattr(self.special, name) for name in names]

    def certain(self, tokenizer: Tokenizer) -> list[str]:
        """Return the pieces that a vocabulary of whole words must hold, however rare they are."""
        found: dict[str, None] = {}
        for text in CHAT_ROLES if self.chat_template is not None else ():
            if tokenizer.normalizer is not None:
                text = tokenizer.normalizer.normalize_str(text)
            found |= dict.fromkeys(p for p, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
        return list(found)

    def processor(self, tokenizer: Tokenizer) -> TemplateProcessing | None:
        """Return what puts the special tokens around one text or two; None where nothing is put."""
        from tokenizers.processors import TemplateProcessing

        marks = self.special
        templates = {
            "eos": (f"$A {marks.eos}", f"$A {marks.eos} $B {marks.eos}"),
            "bos_eos": (
                f"{marks.bos} $A {marks.eos}",
                f"{marks.bos} $A {marks.eos} $B {marks.eos}",
            ),
            "cls_sep": (
                f"{marks.cls} $A {marks.sep}",
                f"{marks.cls} $A {marks.sep} $B:1 {marks.sep}:1",
            ),
        }
        if self.frame == "none":
            return None
        single, pair = templates[self.frame]
        ids = [(token, tokenizer.token_to_id(token)) for token in self.tokens()]
        return TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def finish(
    tokenizer: Tokenizer, framing: Framing, steps: Sequence[dict[str, Any]] = ()
) -> PreTrainedTokenizerFast:
    """Wrap a trained tokenizer so that it saves and loads with everything it needs.

    Args:
        tokenizer: Trained, with the special tokens in its vocabulary.
        framing: Special tokens, what is put around a text, and the chat template.
        steps: Text steps that must run before it, as plain mappings.
    """
    from transformers import PreTrainedTokenizerFast

    processor = framing.processor(tokenizer)
    if processor is not None:
        tokenizer.post_processor = processor
    special = framing.special
    named = {"pad_token": special.pad, "unk_token": special.unk}
    named |= {"bos_token": special.bos, "eos_token": special.eos}
    if framing.frame == "cls_sep":
        named |= {"cls_token": special.cls, "sep_token": special.sep, "mask_token": special.mask}
    extra = {STEPS_KEY: [dict(step) for step in steps]} if steps else {}
    if framing.chat_template is not None:
        extra["chat_template"] = framing.chat_template  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **named,
        **extra,
        # Decoding must give back the text that was encoded, its spaces included.
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="right",
        truncation_side="right",
    )


def named_roles(tokens: Iterable[str]) -> dict[str, str]:
    """Return role → token for the special tokens among ``tokens``, by their usual spelling."""
    present = set(tokens)
    found = {
        role: next((name for name in names if name in present), None)
        for role, names in USUAL_NAMES.items()
    }
    return {role: name for role, name in found.items() if name is not None}


def wrap(tokenizer: Tokenizer, roles: dict[str, str]) -> PreTrainedTokenizerFast:
    """Return a bare tokenizer as one of transformers, with these special tokens."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        padding_side="right",
        truncation_side="right",
        # Else the class would bring in `<s>` and `</s>` as new tokens.
        **{role: roles.get(role) for role in USUAL_NAMES},
    )


def ensure_pad(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Give a tokenizer a padding token that is not its end of text; say whether it grew by one.

    A padding token that ends texts too would teach a model never to stop, because padding is left
    out of the loss. The unknown token serves where it is a token of its own; else `<pad>` is added,
    and the model's embeddings must grow with it (`models.spec.match_vocabulary`).
    """
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in taken:
        tokenizer.pad_token = tokenizer.unk_token
        return False
    before = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return len(tokenizer) > before


def ensure_mask(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Give a tokenizer a token that hides others; say whether it grew by one."""
    if tokenizer.mask_token_id is not None:
        return False
    before = len(tokenizer)
    tokenizer.add_special_tokens({"mask_token": SpecialTokens().mask})
    return len(tokenizer) > before
