"""Recognising what the rows are: which shape, and which column plays which role.

By names first. A shape whose columns include another's wins over it ({text, label} is more than
{text}); when two shapes remain, the user is asked. Columns without names are told apart by their
values where that is safe.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.core.locale import text as sentence
from llmwright.data.config import SHAPES, PrepareConfig
from llmwright.data.records import TaskName
from llmwright.data.shapes.classification import LABEL
from llmwright.data.shapes.shape import Shape, as_number

Sample = Sequence[Mapping[str, Any]]

_UNNAMED = re.compile(r"column_\d+")
_SEPARATORS = (",", ";", "|", "，", "；", "、", "/")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]+")
# Half stars from 0 to 5 are eleven grades; what has more values is measured.
MOST_GRADES = 11
# Rows that a model writes texts from, with an input that controls can stand before.
CONTROLLED = ("text", "pair", "messages", "preference", "flag")
_DECIMAL = re.compile(r"-?\d+\.\d+")


@dataclass(frozen=True)
class Recognised:
    """What the rows are.

    Attributes:
        shape: The shape.
        columns: Role → the user's column.
        task: What the rows will serve.
    """

    shape: Shape
    columns: dict[str, str]
    task: TaskName

    def describe(self) -> str:
        """Return the columns in one line."""
        return ", ".join(f"{role} ← {column}" for role, column in self.columns.items())


def recognise(
    sample: Sample, path: str, config: PrepareConfig, say: Callable[[str], None]
) -> Recognised:
    """Return shape, columns and task of the rows, and say what was found.

    Args:
        sample: Values of the first records.
        path: File they come from, for messages.
        config: What the user set.
        say: Takes a sentence for the user.

    Raises:
        ConfigError: A column or role that does not exist (``DATA-030``, ``DATA-031``), or a task
            that the shape cannot serve (``DATA-034``).
        InputError: Rows that were not recognised (``DATA-032``), that could be several things
            (``DATA-033``, ``DATA-036``), or that lack what the given shape needs (``DATA-035``).
    """
    available = list(dict.fromkeys(key for values in sample for key in values))
    given = _given_columns(config, available, path)
    candidates = _candidates(config, given)
    # What the user names is taken at its word; other shapes must fit the values too.
    matches = [
        (shape, columns)
        for shape in candidates
        for columns in _assignments(shape, given, available)
        if config.shape or config.label_separator or _fits(shape, columns, sample)
    ]
    if not matches and not given:
        matches = list(_by_value(candidates, available, sample, path, config, say))
    served = [(s, c) for s, c in matches if config.task is None or config.task in s.tasks]
    if not config.shape:
        served = _labels_or_numbers(served, sample, config)
    if matches and not served:
        choices = ", ".join(sorted({task for shape, _ in matches for task in shape.tasks}))
        shape = matches[0][0]
        raise ConfigError("DATA-034", shape=shape.name, task=config.task, choices=choices)
    shape, columns = _choose(served, config, available, path)
    _ask_for_separator(shape, columns, sample, path, config)
    found = Recognised(shape, columns, config.task or shape.tasks[0])
    certain = bool(config.shape or (given and set(given) == set(columns)))
    key = "data.chosen" if certain else "data.recognised"
    say(sentence(key, shape=shape.name, columns=found.describe(), task=found.task))
    _refuse_controls(shape, columns, config)
    taken = {*columns.values(), config.split.group, *config.controls}
    unused = [c for c in available if c not in taken]
    unused += sorted({key for values in sample for key in shape.unread(values, columns)})
    if unused:
        say(sentence("data.unused", columns=", ".join(unused)))
    return found


def _refuse_controls(shape: Shape, columns: Mapping[str, str], config: PrepareConfig) -> None:
    """Refuse controls of rows from which no text is written, and of columns that are inputs.

    Raises:
        ConfigError: There are such (``DATA-052``, ``DATA-053``).
    """
    if config.controls and shape.row_type not in CONTROLLED:
        raise ConfigError("DATA-052", shape=shape.name)
    for name in config.controls:
        if name in columns.values():
            raise ConfigError("DATA-053", column=name)


def _given_columns(config: PrepareConfig, available: list[str], path: str) -> dict[str, str]:
    """Return the user's role → column after checking both sides."""
    given = dict(config.columns)
    own = "labels" if config.label_separator else "value"
    if "label" in given and (config.label_separator or config.task == "text-regression"):
        given[own] = given.pop("label")
    roles = {role for name in SHAPES.names() for role in SHAPES.get(name).roles}
    for role in given:
        if role not in roles:
            raise ConfigError("DATA-031", key=role, hint=closest(role, roles))
    group = [config.split.group] if config.split.group else []
    wanted = [*given.values(), *group, *config.controls]
    for column in wanted:
        if column not in available:
            hint = closest(column, available)
            raise ConfigError("DATA-030", path=path, column=column, hint=hint)
    return given


def _candidates(config: PrepareConfig, given: Mapping[str, str]) -> list[Shape]:
    if config.shape:
        return [SHAPES.get(config.shape)]
    names = ["multi_label"] if config.label_separator else SHAPES.names()
    shapes = [shape for name in names if set(given) <= set((shape := SHAPES.get(name)).roles)]
    complete = [shape for shape in shapes if given and shape.needed() <= set(given)]
    return complete or shapes


def _assignments(
    shape: Shape, given: Mapping[str, str], available: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Yield each way to give the shape's roles to columns by their names."""
    if not set(given) <= set(shape.roles):
        return
    if given and shape.needed() <= set(given):
        yield {role: given[role] for role in shape.roles if role in given}
        return
    options: list[list[str | None]] = []
    for role, known in shape.roles.items():
        named = [c for c in available if c.strip().lower() in (role, *known.names)]
        named = [c for c in named if c not in given.values()]
        exact = [column for column in named if column.strip().lower() == role]
        columns: list[str | None] = [given[role]] if role in given else [*(exact or named)]
        if not columns and known.needed:
            return
        options.append(columns or [None])
    for combination in itertools.product(*options):
        columns_of = {r: c for r, c in zip(shape.roles, combination, strict=True) if c is not None}
        if len(set(columns_of.values())) == len(columns_of):
            yield columns_of


def _labels_or_numbers(
    matches: list[tuple[Shape, dict[str, str]]], sample: Sample, config: PrepareConfig
) -> list[tuple[Shape, dict[str, str]]]:
    """Return the matches without those that take labels for numbers or numbers for labels.

    Numbers are only what cannot well be the name of a label; the user may say otherwise.
    """
    if config.task is not None or "value" in config.columns:
        return matches
    numbers = [m for m in matches if m[0].name == "regression"]
    others = [m for m in matches if m[0].name != "regression"]
    labels = [m for m in others if m[0].name == "classification"]
    if any("label" in config.columns or not are_measured(c["label"], sample) for _, c in labels):
        return others
    clear = [(s, c) for s, c in numbers if _is_target(c) and are_measured(c["value"], sample)]
    return clear + [m for m in others if not clear or m not in labels]


def _is_target(columns: Mapping[str, str]) -> bool:
    """Say whether a number is what is said of two texts, or stands where a label would.

    Beside a single text it may also be a note, as the quality that a crawl gives its pages.
    """
    column = columns["value"]
    return "text_pair" in columns or column.strip().lower() in LABEL or is_unnamed(column)


def are_measured(column: str, sample: Sample) -> bool:
    """Say whether a column's values are clearly measured, not names: many, and with fractions."""
    given = [values.get(column) for values in sample]
    filled = [value for value in given if value is not None and str(value).strip()]
    numbers = [number for value in filled if (number := as_number(value)) is not None]
    with_fraction = sum(number % 1 != 0 for number in numbers)
    return (
        len(numbers) > 0.95 * len(filled)
        and len(set(numbers)) > MOST_GRADES
        and with_fraction > 0.1 * len(numbers)
    )


def _fits(shape: Shape, columns: Mapping[str, str], sample: Sample) -> bool:
    # A few bad records must not hide what the rest is.
    return sum(shape.fits(values, columns) for values in sample) > 0.5 * len(sample)


def _choose(
    matches: Sequence[tuple[Shape, dict[str, str]]],
    config: PrepareConfig,
    available: list[str],
    path: str,
) -> tuple[Shape, dict[str, str]]:
    """Return the one match whose columns no other match includes."""
    # Two rival answers are nothing else, whatever other columns there are.
    matches = [m for m in matches if m[0].row_type == "preference"] or matches
    used = [set(columns.values()) for _, columns in matches]
    best = [m for m, mine in zip(matches, used, strict=True) if not any(mine < u for u in used)]
    if len(best) == 1:
        return best[0]
    names = ", ".join(available)
    if best:
        choices = "; ".join(f"{s.name} ({', '.join(c.values())})" for s, c in best)
        raise InputError("DATA-033", path=path, choices=choices, columns=names)
    if config.shape:
        shape = SHAPES.get(config.shape)
        missing = ", ".join(sorted(shape.needed() - set(config.columns)))
        raise InputError("DATA-035", path=path, shape=shape.name, missing=missing, columns=names)
    reason = sentence("data.why_unknown_names")
    raise InputError("DATA-032", path=path, columns=names, reason=reason)


def _by_value(
    candidates: Sequence[Shape],
    available: Sequence[str],
    sample: Sample,
    path: str,
    config: PrepareConfig,
    say: Callable[[str], None],
) -> Iterator[tuple[Shape, dict[str, str]]]:
    """Yield the shape of columns without names: one text, one with a label, or texts and a number.

    Raises:
        InputError: Several columns hold texts (``DATA-032``).
    """
    if not all(map(is_unnamed, available)):
        return
    kinds = {
        column: _kind_of([str(values.get(column)) for values in sample]) for column in available
    }
    texts = [column for column, kind in kinds.items() if kind == "text"]
    labels = [column for column, kind in kinds.items() if kind == "label"]
    by_name = {shape.name: shape for shape in candidates}
    label_role = "labels" if config.label_separator else "label"
    shape = by_name.get("multi_label" if config.label_separator else "classification")
    numbers = [column for column in available if are_measured(column, sample)]
    if config.task == "text-regression":
        numbers = numbers or [c for c in available if _all_numbers(c, sample)]
    if len(numbers) == 1 and len(texts) in (1, 2) and config.task in (None, "text-regression"):
        say(sentence("data.by_number", value=numbers[0]))
        roles = dict(zip(("text", "text_pair"), texts, strict=False))
        yield by_name["regression"], {**roles, "value": numbers[0]}
    elif len(texts) == 1 and len(labels) == 1 and shape is not None:
        say(sentence("data.by_value", label=labels[0]))
        yield shape, {"text": texts[0], label_role: labels[0]}
    elif len(available) == 1 and "documents" in by_name:
        yield by_name["documents"], {"text": available[0]}
    elif len(texts) > 1:
        reason = sentence("data.why_several_texts", columns=", ".join(texts))
        raise InputError("DATA-032", path=path, columns=", ".join(available), reason=reason)


def _all_numbers(column: str, sample: Sample) -> bool:
    return all(as_number(values.get(column)) is not None for values in sample)


def is_unnamed(column: str) -> bool:
    """Say whether a column has no name in the file, so that a reader numbered it."""
    return bool(_UNNAMED.fullmatch(column))


def _kind_of(values: Sequence[str]) -> str:
    """Return what a column's values look like: ``label``, ``number``, ``identifier``, ``text``."""
    distinct = set(values)
    if all(_DECIMAL.fullmatch(value) for value in distinct):
        return "number"
    if len(distinct) <= 0.3 * len(values) and all(len(value) <= 60 for value in distinct):
        return "label"
    if len(distinct) > 0.9 * len(values) and all(_IDENTIFIER.fullmatch(v) for v in distinct):
        return "identifier"
    return "text"


def _ask_for_separator(
    shape: Shape, columns: Mapping[str, str], sample: Sample, path: str, config: PrepareConfig
) -> None:
    """Ask when single labels look like several: parts of a cell stand alone in other cells.

    Raises:
        InputError: They do (``DATA-036``).
    """
    if shape.name != "classification" or config.shape:
        return
    cells = {value for values in sample if isinstance(value := values.get(columns["label"]), str)}
    for separator in _SEPARATORS:
        joined = [cell for cell in sorted(cells) if separator in cell]
        alone = [cell for cell in joined if {p.strip() for p in cell.split(separator)} <= cells]
        if len(alone) >= 2 or (alone and len(joined) == 1 and len(cells) <= 5):
            raise InputError(
                "DATA-036",
                path=path,
                column=columns["label"],
                example=alone[0],
                separator=separator,
            )
