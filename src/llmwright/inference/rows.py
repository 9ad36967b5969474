"""The rows of a file that is to be answered, under the user's own column names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.errors import InputError
from llmwright.data.config import READERS
from llmwright.data.detect import find_format, is_parquet
from llmwright.data.encoding import find_encoding
from llmwright.data.readers.record import ReadRequest, Record, Rejection

if TYPE_CHECKING:
    from llmwright.inference.predictor import Predictor


def read_rows(path: Path, predictor: Predictor) -> Iterator[Record | Rejection]:
    """Yield the records of a file in their order; each line of a plain text is one input.

    Args:
        path: Any file that `prepare` reads.
        predictor: Knows which columns the model takes.

    Raises:
        InputError: The file does not exist (``INFER-021``), or is empty or cannot be read at all.
    """
    if not path.is_file():
        raise InputError("INFER-021", path=path)
    if is_parquet(path):
        encoding, format_name = "", "parquet"
    else:
        encoding = find_encoding(path, path.name)
        format_name, _ = find_format(path, encoding)
    request = ReadRequest(
        path=path,
        name=path.name,
        encoding=encoding,
        say=lambda sentence: None,
        document="line",
        columns=frozenset(predictor.contract.fields.values()),
    )
    for item in READERS.get(format_name)(request):
        if format_name == "text" and isinstance(item, Record):
            (value,) = item.values.values()
            yield Record(item.number, item.line, {predictor.text_name: value})
        else:
            yield item
