"""Texts that are answered alone, or each with a second one."""

from __future__ import annotations

from collections.abc import Sequence

from llmwright.data.records import Row
from llmwright.serving.door.errors import ApiError
from llmwright.serving.served.model import ServedModel
from llmwright.serving.work.service import Service


def rows_of(
    given: str | Sequence[str],
    given_pairs: str | Sequence[str] | None,
    service: Service,
    model: ServedModel,
) -> list[Row]:
    """Return the rows of ``input`` and ``input_pair``.

    Raises:
        ApiError: There are too many, or the model reads another number of texts (400).
        LLMwrightError: A text cannot be read.
    """
    if given_pairs is not None and not model.reads_pairs:
        raise ApiError(400, "no_pairs", param="input_pair", name=model.name)
    if given_pairs is None and model.reads_pairs:
        raise ApiError(400, "missing_parameter", param="input_pair")
    texts = [given] if isinstance(given, str) else given
    service.check_rows(len(texts), "input")
    if given_pairs is None:
        return [model.text_row(text, None) for text in texts]
    pairs = [given_pairs] if isinstance(given_pairs, str) else given_pairs
    if len(pairs) != len(texts):
        raise ApiError(400, "uneven_pairs", param="input_pair")
    return [model.text_row(*both) for both in zip(texts, pairs, strict=True)]
