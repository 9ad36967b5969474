"""One JSON value per file: a list of rows, or nested objects around one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.core.locale import text as sentence
from llmwright.data.readers.lines import open_text
from llmwright.data.readers.record import ReadRequest, Record, Rejection, excerpt_of

_NESTED, _LONG_NUMBER = "nested too deeply", "a number has too many digits"
_LIMITS = {_NESTED: "data.json_nested", _LONG_NUMBER: "data.json_long_number"}


def read_json(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield the objects of the file's list of rows; the file is parsed as a whole.

    Raises:
        InputError: No valid JSON (``DATA-017``), no list of rows or several (``DATA-018``), or an
            empty list (``DATA-014``).
        ConfigError: ``json_path`` does not lead to a list (``DATA-019``).
    """
    with open_text(request.path, request.encoding, meter=request.meter) as stream:
        text = stream.read()
    try:
        value = parse(text)
    except json.JSONDecodeError as error:
        reason = sentence(_LIMITS[error.msg]) if error.msg in _LIMITS else error.msg
        raise InputError(
            "DATA-017", path=request.name, line=error.lineno, column=error.colno, reason=reason
        ) from error
    if request.json_path:
        rows = _follow(value, request.json_path, request.name)
    else:
        path, rows = _only_list(value, request.name)
        if path:
            request.say(sentence("data.json_path", json_path=path))
    if not rows:
        raise InputError("DATA-014", path=request.name)
    for number, row in enumerate(rows, start=1):
        yield as_record(row, number, None)


def parse(text: str) -> Any:
    """Return a JSON value; NaN, as some tools write it where nothing is, becomes None.

    Raises:
        json.JSONDecodeError: It is not valid, or goes beyond what Python can read.
    """
    try:
        return json.loads(text, parse_constant=lambda name: None if name == "NaN" else float(name))
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError(_NESTED, text, 0) from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise json.JSONDecodeError(_LONG_NUMBER, text, 0) from error


def as_record(row: Any, number: int, line: int | None) -> Record | Rejection:
    """Return a JSON value as a record; a bare text stands under the column ``text``."""
    if isinstance(row, dict):
        return Record(number, line, row)
    if isinstance(row, str):
        return Record(number, line, {"text": row})
    excerpt = excerpt_of(json.dumps(row, ensure_ascii=False))
    return Rejection(number, line, "type", f"{type(row).__name__} instead of an object", excerpt)


def _follow(value: Any, json_path: str, name: str) -> list[Any]:
    """Return the list behind dotted keys, walking through every list on the way."""
    found = [value]
    for key in json_path.split("."):
        level = [item for part in found for item in (part if isinstance(part, list) else [part])]
        keys = {k for item in level if isinstance(item, dict) for k in item}
        if key not in keys:
            hint = closest(key, keys)
            raise ConfigError("DATA-019", path=name, json_path=json_path, key=key, hint=hint)
        found = [item[key] for item in level if isinstance(item, dict) and key in item]
    return [item for part in found for item in (part if isinstance(part, list) else [part])]


def _only_list(value: Any, name: str) -> tuple[str, list[Any]]:
    """Return path and content of the file's one list of rows."""
    if isinstance(value, list):
        return "", value
    lists = dict(_lists(value, ""))
    objects = {path: rows for path, rows in lists.items() if isinstance(rows[0], dict)}
    found = objects or lists
    if len(found) == 1:
        return next(iter(found.items()))
    raise InputError("DATA-018", path=name, found=", ".join(found) or "-")


def _lists(value: Any, prefix: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield the outermost lists with content, by dotted path."""
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if isinstance(item, list) and item:
            yield prefix + key, item
        else:
            yield from _lists(item, f"{prefix}{key}.")
