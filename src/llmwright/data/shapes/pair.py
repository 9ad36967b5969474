"""Two texts, of which the second follows from the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.shape import Options, Role, Row, Shape, Values, text_of


class Pair(Shape):
    """An input and a target: translation, summary, rewriting."""

    name = "pair"
    row_type: ClassVar[RowType] = "pair"
    tasks: ClassVar[tuple[TaskName, ...]] = ("seq2seq", "text-generation")
    roles: ClassVar[dict[str, Role]] = {
        "input": Role(("source", "src", "question", "document", "article", "输入", "原文", "问题")),
        "target": Role(("output", "tgt", "answer", "summary", "输出", "译文", "答案", "摘要")),
    }

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether both values are texts."""
        return all(isinstance(values.get(name), str | None) for name in columns.values())

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``input`` and ``target``."""
        first, second = self.roles
        return {
            "input": text_of(values, columns[first]),
            "target": text_of(values, columns[second]),
        }


class Completion(Pair):
    """A prompt and what a language model should write next."""

    name = "completion"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-generation", "seq2seq")
    roles: ClassVar[dict[str, Role]] = {
        "prompt": Role(),
        "completion": Role(("response",)),
    }

    def fields(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return the names of ``input`` and ``target``."""
        return {"input": columns["prompt"], "target": columns["completion"]}


PAIR = Pair()
COMPLETION = Completion()
