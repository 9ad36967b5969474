"""Conversations as a tokenizer's chat template writes them, and where the assistant speaks.

The exact spans of the assistant's answers come from the template itself: from its
``{% generation %}`` marks where it has them, else by rendering the conversation a second time
with marks of our own in place of the answers. The stop token behind an answer belongs to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.core.errors import InputError
from llmwright.tasks.task import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Messages = list[dict[str, Any]]
Span = tuple[int, int]
_NOWHERE = "\u2042llmwright nowhere\u2042"


def template_of(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the tokenizer's chat template.

    Raises:
        InputError: It has none (``TASK-005``).
    """
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise InputError("TASK-005") from error


def template_sha256(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the hash of the chat template, by which a changed one is noticed."""
    return hashlib.sha256(template_of(tokenizer).encode()).hexdigest()


def known_sha256(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Return the hash of the chat template, None where the tokenizer has none."""
    return template_sha256(tokenizer) if getattr(tokenizer, "chat_template", None) else None


def render(tokenizer: PreTrainedTokenizerFast, messages: Messages, prompt: bool = False) -> str:
    """Return a conversation as text.

    Args:
        tokenizer: Has the template.
        messages: Mappings with ``role`` and ``content``.
        prompt: End with the words after which the assistant answers.

    Raises:
        InputError: No template (``TASK-005``), or it refuses the messages (``TASK-009``).
    """
    template_of(tokenizer)
    try:
        return str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        )
    except Exception as error:  # a template may raise anything; it runs in a sandbox
        raise InputError("TASK-009", reason=str(error)[:200]) from error


def encode_prompt(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> list[int]:
    """Return the ids of a conversation up to where the assistant answers."""
    text = render(tokenizer, messages, prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def encode_conversation(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, learn: Sequence[bool] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return input_ids_T and labels_T, IGNORE wherever it is not the assistant who speaks.

    Args:
        tokenizer: Has the template.
        messages: Mappings with ``role`` and ``content``.
        learn: Of each message whether it is learned; all of the assistant's by default.

    Raises:
        InputError: The template is missing or refuses the messages, does not say where an answer
            is (``TASK-007``), or puts no stop token behind it (``TASK-006``).
    """
    text = render(tokenizer, messages)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids_T = np.array(encoding["input_ids"], dtype=np.int64)
    offsets_T2 = np.array(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    stops = stop_ids(tokenizer)
    labels_T = np.full(len(ids_T), IGNORE, dtype=np.int64)
    spans = answer_spans(tokenizer, messages, text)
    for start, end in spans if learn is None else _learned(spans, messages, learn):
        first = int(np.searchsorted(offsets_T2[:, 1], start, side="right"))
        last = int(np.searchsorted(offsets_T2[:, 0], end, side="left"))
        stop = _stop_position(ids_T, first, last, stops)
        labels_T[first : stop + 1] = ids_T[first : stop + 1]
    return ids_T, labels_T


def _learned(spans: list[Span], messages: Messages, learn: Sequence[bool]) -> list[Span]:
    """Return the spans of the answers that are learned.

    Raises:
        InputError: Some are not, and the template does not mark every answer (``TASK-007``).
    """
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    kept = [learn[i] for i in answers]
    if all(kept):
        return spans
    if len(spans) != len(answers):
        raise InputError("TASK-007", answer=messages[answers[kept.index(False)]]["content"][:60])
    return [span for span, keeps in zip(spans, kept, strict=True) if keeps]


def _stop_position(ids_T: np.ndarray, first: int, last: int, stops: set[int]) -> int:
    """Return where the answer in ``first:last`` is stopped: its last token, or the next one."""
    for position in (last - 1, last):
        if first <= position < len(ids_T) and int(ids_T[position]) in stops:
            return position
    # Marks may also include white space that the template writes behind the stop token.
    inside = [p for p in range(last - 1, max(first, last - 4) - 1, -1) if int(ids_T[p]) in stops]
    if not inside:
        raise InputError("TASK-006")
    return inside[0]


def stop_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Return the tokens that may end an answer: the special tokens a template can write."""
    never = {tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id}
    special = set(tokenizer.all_special_ids) | {
        index for index, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    return (special - never) | {index for index in (tokenizer.eos_token_id,) if index is not None}


def answer_spans(tokenizer: PreTrainedTokenizerFast, messages: Messages, text: str) -> list[Span]:
    """Return start and end of each of the assistant's answers in the rendered text.

    Raises:
        InputError: An answer cannot be found in the text (``TASK-007``).
    """
    if "generation" in re.findall(r"{%-?\s*(\w+)", template_of(tokenizer)):
        return _marked_spans(tokenizer, messages)
    mark = "\u2042llmwright answer {}\u2042"
    marked: Messages = []
    answers: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            marked.append({**message, "content": mark.format(len(answers))})
            answers.append(str(message["content"]))
        else:
            marked.append(message)
    frame = render(tokenizer, marked)
    opening = _opening(tokenizer, messages)
    spans: list[Span] = []
    position = 0
    for index, answer in enumerate(answers):
        before, found, frame = frame.partition(mark.format(index))
        start = position + len(before)
        # Some templates strip the white space around what they are given.
        length = next((len(a) for a in (answer, answer.strip()) if text.startswith(a, start)), None)
        if not found or length is None or text[position:start] != before:
            raise InputError("TASK-007", answer=answer[:60])
        # What a template writes between the prompt and the content, such as an empty thought, is
        # not there when the model is asked: it is the model that must write it.
        _, opened, extra = before.rpartition(opening)
        spans.append((start - len(extra) if opened else start, start + length))
        position = start + length
    return spans


def _opening(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> str:
    """Return the words after which the assistant answers; a mark that is nowhere without them."""
    roles = [message["role"] for message in messages]
    before = messages[: roles.index("assistant")] if "assistant" in roles else []
    if not before:
        return _NOWHERE
    asked, told = render(tokenizer, before, prompt=True), render(tokenizer, before)
    return asked.removeprefix(told) or _NOWHERE


def _marked_spans(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> list[Span]:
    """Return the spans inside the template's generation marks."""
    from transformers.utils.chat_template_utils import render_jinja_template

    _, spans = render_jinja_template(
        conversations=[messages],
        chat_template=template_of(tokenizer),
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    return [(start, end) for start, end in spans[0]]
