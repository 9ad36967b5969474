"""What a writing model is asked with: the question below the passages that may answer it.

Passages are what others wrote: they stand between marks they cannot close, and cannot write the
model's own control tokens. What they say may still lead a model astray; no wording prevents that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from llmwright.core.locale import Language, text
from llmwright.knowledge.dense import language_of
from llmwright.knowledge.search import Hit

Message = dict[str, str]

_TAG = re.compile(r"<(?=\s*/?\s*passage)", re.IGNORECASE)
_MARK = re.compile(r"\[(\d{1,3})\]|［(\d{1,3})］|【(\d{1,3})】")
# A part of a passage shorter than this says too little.
_MIN_CHARS = 40


def language_of_question(question: str) -> Language:
    """Return the language that a question is answered in."""
    return "zh" if language_of(question) == "zh" else "en"


def unknown(question: str) -> str:
    """Return the sentence that nothing in the documents answers a question."""
    return text("knowledge.unknown", language_of_question(question))


def prompt(question: str, hits: Sequence[Hit], control: Iterable[str] = ()) -> str:
    """Return the text that asks a model to answer from passages and to cite them.

    Args:
        question: The question.
        hits: The passages, numbered from 1 on.
        control: Tokens by which the model's conversations are told apart; passages hold none.
    """
    tokens = [token for token in control if len(token) > 1]
    parts = []
    for number, hit in enumerate(hits, start=1):
        passage = hit.passage
        title = " · ".join(part for part in (passage.source, passage.heading) if part)
        body = f"{_harmless(title, tokens)}\n{_harmless(passage.text, tokens)}"
        parts.append(f'<passage id="{number}">\n{body}\n</passage>')
    lang = language_of_question(question)
    known = {"passages": "\n".join(parts), "question": question, "unknown": unknown(question)}
    # Not by format(): passages and questions may hold braces.
    template = text("knowledge.prompt", lang)
    return re.sub(r"\{(\w+)\}", lambda match: known[match[1]], template)


def _harmless(said: str, control: Sequence[str]) -> str:
    """Return a text that ends no passage and holds no control token."""
    said = _TAG.sub("‹", said)
    for token in control:
        said = said.replace(token, f"{token[0]} {token[1:]}")
    return said


def fitting(
    question: str,
    hits: Sequence[Hit],
    fits: Callable[[str], bool],
    control: Iterable[str] = (),
) -> tuple[str, list[Hit]]:
    """Return the prompt with as many of the best passages as fit, and those passages.

    Where not even the best one fits, its beginning is given.

    Args:
        question: The question.
        hits: Passages, the best first.
        fits: Says whether the model can read a prompt.
        control: As in `prompt`.

    Returns:
        Prompt and passages; of those none where not even a part of one fits.
    """
    tokens = list(control)
    for count in range(len(hits), 0, -1):
        whole = prompt(question, hits[:count], tokens)
        if fits(whole):
            return whole, list(hits[:count])
    best = hits[0]
    length = len(best.passage.text) // 2
    while length >= _MIN_CHARS:
        start = best.passage.start
        cut = replace(best.passage, text=best.passage.text[:length], end=start + length)
        shorter = [replace(best, passage=cut)]
        whole = prompt(question, shorter, tokens)
        if fits(whole):
            return whole, shorter
        length //= 2
    return prompt(question, [], tokens), []


def marked(answer: str, count: int) -> set[int]:
    """Return the numbers of passages that an answer cites, as in ``[1]``, from 1 to ``count``."""
    numbers = {int(next(filter(None, found))) for found in _MARK.findall(answer)}
    return {number for number in numbers if 1 <= number <= count}
