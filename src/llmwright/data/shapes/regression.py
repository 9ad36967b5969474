"""A text, or a pair of texts, with a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.classification import FIRST, LABEL, SECOND, texts_of
from llmwright.data.shapes.shape import Options, Role, Row, Shape, Values, as_number, number_of

_VALUE = ("score", "rating", "stars", "similarity", "similarity_score", "分数", "评分")


class Regression(Shape):
    """One number per row: a similarity, a rating, a price."""

    name = "regression"
    row_type: ClassVar[RowType] = "regression"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-regression",)
    roles: ClassVar[dict[str, Role]] = {
        "text": Role(FIRST),
        "text_pair": Role(SECOND, needed=False),
        "value": Role((*_VALUE, *LABEL)),
    }

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether the texts are texts and the value is a number."""
        texts = [values.get(columns[name]) for name in ("text", "text_pair") if name in columns]
        is_text = all(isinstance(text, str | None) for text in texts)
        return is_text and as_number(values.get(columns["value"])) is not None

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``text``, ``value`` and, for pairs, ``text_pair``.

        Raises:
            RowError: As `texts_of`; the value is missing or no finite number.
        """
        return {**texts_of(values, columns), "value": number_of(values, columns["value"])}


REGRESSION = Regression()
