"""The sentences of the evaluation page."""

from __future__ import annotations

from llmwright.inference.page import markup


def words(key: str, element: str = "span", **values: object) -> markup.Markup:
    """Return the sentence ``evaluation.page.<key>`` in both languages."""
    return markup.words(f"evaluation.page.{key}", element, **values)
