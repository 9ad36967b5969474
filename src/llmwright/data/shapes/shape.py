"""What a shape is: known names of columns, a test of values, a conversion to a canonical row."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llmwright.data.records import RowType, TaskName

Row = dict[str, Any]
Values = Mapping[str, Any]

TEXT_NAMES = (
    "text", "sentence", "content", "review", "document", "comment", "question", "query", "message",
    "utterance", "tweet", "text_a", "sms", "body", "title", "headline",
    "文本", "内容", "评论", "句子", "正文", "标题", "问题",
)  # fmt: skip


class RowError(Exception):
    """A record that does not fit the shape.

    Args:
        reason: Short name that is counted, as in `readers.record.Rejection`.
        detail: What exactly.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True)
class Role:
    """One of a shape's columns.

    Attributes:
        names: Names it is known by, lower case; the role's own name is always one.
        needed: Whether the shape cannot do without.
    """

    names: tuple[str, ...] = ()
    needed: bool = True


@dataclass(frozen=True)
class Options:
    """What the user set about values.

    Attributes:
        label_separator: Text between the labels of one cell.
        label_names: Names of labels written as numbers, in order.
    """

    label_separator: str | None = None
    label_names: Sequence[str] = field(default_factory=tuple)


class Shape(ABC):
    """Base of all shapes; a plugin registers an instance as a ``shape``.

    Attributes:
        name: Registered name.
        row_type: Canonical row it becomes.
        tasks: What the rows can serve; the first is the default.
        roles: Our columns of this shape.
    """

    name: str
    row_type: ClassVar[RowType]
    tasks: ClassVar[tuple[TaskName, ...]]
    roles: ClassVar[dict[str, Role]]

    def needed(self) -> set[str]:
        """Return the roles that must have a column."""
        return {name for name, role in self.roles.items() if role.needed}

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether a record's values are of the right kind.

        Args:
            values: One record of the sample.
            columns: Role → the record's column.
        """
        return True

    def columns_in(self, values: Values) -> dict[str, str]:
        """Return role → the record's column, as far as known names tell; the role's own first."""
        found: dict[str, str] = {}
        for role, known in self.roles.items():
            by_name = {str(column).strip().lower(): column for column in reversed(list(values))}
            named = [by_name[name] for name in (role, *known.names) if name in by_name]
            if named:
                found[role] = named[0]
        return found

    @abstractmethod
    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return the canonical row.

        Args:
            values: One record.
            columns: Role → the record's column.
            options: What the user set about values.

        Raises:
            RowError: A needed value is missing or of the wrong type.
        """

    def unread(self, values: Values, columns: Mapping[str, str]) -> set[str]:
        """Return what is inside the columns of a record and is not used, as the user is told."""
        return set()

    def fields(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return canonical column → the user's name for it, for those that stand for one column."""
        return dict(columns)


def text_of(values: Values, column: str, *, optional: bool = False) -> str:
    """Return a needed text; an optional one may be missing and is then empty.

    Numbers count as text; a list of texts (the lines of a poem) is joined by newlines.

    Raises:
        RowError: The value is missing, empty or no text.
    """
    value = values.get(column)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        if optional:
            return ""
        raise RowError("missing", f'"{column}" is empty')
    if not isinstance(value, str):
        raise RowError("type", f'"{column}" is {_kind(value)}, not text')
    return value


def number_of(values: Values, column: str) -> float:
    """Return a needed number; one that is written as text is read.

    Raises:
        RowError: The value is missing or no finite number.
    """
    value = values.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError("missing", f'"{column}" is empty')
    number = as_number(value)
    if number is None:
        shown = value if isinstance(value, str) else _kind(value)
        raise RowError("number", f'"{column}" is {shown[:40]}, not a number')
    return number


def as_number(value: Any) -> float | None:
    """Return a number or a text that is one; None of all else, infinity included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    # Python also reads 1_000, which no table means as a number.
    return number if math.isfinite(number) and "_" not in str(value) else None


def name_of(value: Any, column: str, options: Options) -> str:
    """Return a label as text, by its name where the user gave names for numbers.

    Raises:
        RowError: The value is missing, of the wrong type, or a number without a name.
    """
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, int | float):
        value = json.dumps(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError("missing", f'"{column}" is empty')
    if not isinstance(value, str):
        raise RowError("type", f'"{column}" is {_kind(value)}, not a label')
    label = value.strip()
    if not options.label_names:
        return label
    if label.isdecimal() and int(label) < len(options.label_names):
        return options.label_names[int(label)]
    if label in options.label_names:
        return label
    raise RowError("type", f'"{column}" is {label}, which label_names does not name')


def _kind(value: Any) -> str:
    return {"dict": "an object", "list": "a list", "bool": "true or false"}.get(
        type(value).__name__, type(value).__name__
    )
