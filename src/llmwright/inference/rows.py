"""The rows of a file that is to be answered, under the user's own column names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.errors import InputError
from llmwright.data.config import READERS, PrepareConfig
from llmwright.data.detect import find_format, is_parquet
from llmwright.data.encoding import check_filled, find_encoding, known_encoding
from llmwright.data.readers.record import ReadRequest, Record, Rejection

if TYPE_CHECKING:
    from llmwright.inference.predictor import Predictor


def read_rows(
    path: Path,
    predictor: Predictor,
    reading: PrepareConfig | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Record | Rejection]:
    """Yield the records of a file in their order; each line of a plain text is one input.

    Args:
        path: Any file that `prepare` reads.
        predictor: Knows which columns the model takes.
        reading: ``format``, ``encoding``, ``delimiter``, ``quoted`` and ``header``; found by
            content where not given.
        columns: The model's field → the file's column, where the names differ.

    Raises:
        ConfigError: No such encoding (``DATA-016``).
        InputError: The file does not exist (``INFER-021``), or is empty or cannot be read at all.
    """
    if not path.is_file():
        raise InputError("INFER-021", path=path)
    named = (columns or {}).values()
    asked = reading or PrepareConfig(source=str(path))
    encoding, format_name = _encoding_and_format(path, asked)
    request = ReadRequest(
        path=path,
        name=path.name,
        encoding=encoding,
        say=lambda sentence: None,
        delimiter=asked.delimiter,
        quoted=asked.quoted,
        header=asked.header,
        document="line",
        columns=frozenset({*predictor.contract.fields.values(), predictor.text_name, *named}),
    )
    for item in READERS.get(format_name)(request):
        if format_name == "text" and isinstance(item, Record):
            (value,) = item.values.values()
            yield Record(item.number, item.line, {predictor.text_name: value})
        else:
            yield item


def _encoding_and_format(path: Path, asked: PrepareConfig) -> tuple[str, str]:
    if asked.format == "parquet" or (asked.format is None and is_parquet(path)):
        return "", "parquet"
    if asked.encoding:
        encoding = known_encoding(asked.encoding)
        check_filled(path, encoding, path.name)
    else:
        encoding = find_encoding(path, path.name)
    return encoding, asked.format or find_format(path, encoding)[0]
