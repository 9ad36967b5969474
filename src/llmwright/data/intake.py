"""From files to canonical rows: open, read, convert and clean, one record after another."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.core.files import sha256_file
from llmwright.core.locale import text as sentence
from llmwright.data.clean import RowCleaner
from llmwright.data.config import READERS, PrepareConfig
from llmwright.data.content import all_texts
from llmwright.data.detect import find_format, is_parquet
from llmwright.data.encoding import check_filled, find_encoding, known_encoding
from llmwright.data.readers.lines import Meter, text_problem
from llmwright.data.readers.record import ReadRequest, Record, Rejection, excerpt_of
from llmwright.data.recognise import Recognised
from llmwright.data.records import SourceInfo, SplitName
from llmwright.data.report import Report
from llmwright.data.shapes.shape import Options, RowError
from llmwright.data.sources import SourceFile, find_files, name_splits

Row = dict[str, Any]
Say = Callable[[str], None]
T = TypeVar("T")

_SAMPLE_RECORDS = 500
_SAMPLE_CHARS = 32_000_000
_HELD_ITEMS = 10_000
_TABLES = ("csv", "tsv", "parquet")


@dataclass
class OpenFile:
    """One file with what was found about it."""

    file: SourceFile
    format: str
    encoding: str
    num_records: int = 0


class Intake:
    """The records of all files, with a first look at some of them.

    Args:
        config: What the user set.
        root: The project's folder.
        say: Takes a sentence for the user.
    """

    def __init__(self, config: PrepareConfig, root: Path, say: Say) -> None:
        self._config = config
        self._say = say
        self._said: set[str] = set()
        self.files = [self._open(file) for file in self._find(root)]
        formats = sorted({opened.format for opened in self.files})
        if len(formats) > 1:
            path = _written(config)
            raise InputError("DATA-012", path=path, formats=", ".join(formats))
        self._sizes = {opened.file.path: opened.file.path.stat().st_size for opened in self.files}
        self._meter = Meter()
        self._stream = self._read()

    def _find(self, root: Path) -> list[SourceFile]:
        files = find_files(self._config.source, root)
        if isinstance(self._config.source, dict) or len(files) < 2:
            return files
        if self._config.split.method not in ("auto", "given"):
            return files
        named = name_splits(files, _written(self._config))
        if named[0].split is not None:
            splits = ", ".join(f"{file.name} → {file.split}" for file in named[:6])
            self._say(sentence("data.splits_named", splits=splits))
        return named

    def _open(self, file: SourceFile) -> OpenFile:
        """Find encoding and format of a file and say them."""
        given = self._config.format
        if given == "parquet" or (given is None and is_parquet(file.path)):
            return OpenFile(file, "parquet", "")
        if self._config.encoding:
            encoding = known_encoding(self._config.encoding)
            check_filled(file.path, encoding, file.name)
        else:
            encoding = find_encoding(file.path, file.name)
            if not encoding.startswith("utf-8"):
                self._tell(file.name, sentence("data.encoding", encoding=encoding))
        if given:
            return OpenFile(file, given, encoding)
        format_name, by_content = find_format(file.path, encoding)
        if by_content:
            self._tell(file.name, sentence("data.format", format=format_name))
        return OpenFile(file, format_name, encoding)

    def _tell(self, name: str, said: str) -> None:
        """Say something about a file, once for all files it is true of."""
        if said not in self._said:
            self._said.add(said)
            self._say(sentence("data.file", path=name, said=said))

    def _read(self) -> Iterator[tuple[OpenFile, Record | Rejection]]:
        config = self._config
        left = dict.fromkeys((opened.file.split for opened in self.files), config.max_rows)
        finished_bytes = 0
        for opened in self.files:
            name, split = opened.file.name, opened.file.split
            request = ReadRequest(
                path=opened.file.path,
                name=name,
                encoding=opened.encoding,
                say=lambda said, name=name: self._tell(name, said),  # type: ignore[misc]
                delimiter=config.delimiter,
                quoted=config.quoted,
                header=config.header,
                json_path=config.json_path,
                document=config.document,
                columns=frozenset(config.columns.values()),
                max_record_bytes=config.max_record_bytes,
                meter=self._meter,
            )
            for item in itertools.islice(READERS.get(opened.format)(request), left[split]):
                opened.num_records += 1
                yield opened, item
            if (most := left[split]) is not None:
                left[split] = most - opened.num_records
            # Not every reader counts what it reads, and none does so after the last row.
            finished_bytes += self._sizes[opened.file.path]
            self._meter.done_bytes = finished_bytes

    def sample(self, report: Report) -> list[dict[str, Any]]:
        """Return the values of the first records; reading will begin with them all the same.

        Args:
            report: Takes what is unreadable before the first readable record, however much that
                is; from there on few records and rejections are held.
        """
        held: deque[tuple[OpenFile, Record | Rejection]] = deque()
        values: list[dict[str, Any]] = []
        num_chars = 0
        for opened, item in self._stream:
            if isinstance(item, Record):
                values.append(item.values)
                num_chars += sum(len(v) for v in item.values.values() if isinstance(v, str))
            elif not values:
                report.reject(opened.file.name, item)
                continue
            held.append((opened, item))
            enough = len(values) >= _SAMPLE_RECORDS or len(held) >= _HELD_ITEMS
            if enough or num_chars >= _SAMPLE_CHARS:
                break
        self._stream = _replay(held, self._stream)
        return values

    def __iter__(self) -> Iterator[tuple[OpenFile, Record | Rejection]]:
        return self._stream

    def progress(self) -> tuple[float, float]:
        """Return the megabytes of the files that were read so far, and those of all."""
        return self._meter.done_bytes / 1e6, sum(self._sizes.values()) / 1e6

    @property
    def num_records(self) -> int:
        """Records read so far."""
        return sum(opened.num_records for opened in self.files)

    def sources(self) -> list[SourceInfo]:
        """Return what the artifact says about the files."""
        return [
            SourceInfo(
                path=opened.file.name,
                sha256=sha256_file(opened.file.path),
                format=opened.format,
                encoding=opened.encoding,
                num_records=opened.num_records,
            )
            for opened in self.files
        ]


def _replay(held: deque[T], rest: Iterator[T]) -> Iterator[T]:
    """Yield what was held and let go of it on the way, then the rest."""
    while held:
        yield held.popleft()
    yield from rest


def canonical_rows(
    intake: Intake, found: Recognised, config: PrepareConfig, cleaner: RowCleaner, report: Report
) -> Iterator[tuple[Row, SplitName | None]]:
    """Yield each row that gets through, with the split its file was given for.

    Args:
        intake: The records.
        found: What the rows are.
        config: What the user set.
        cleaner: Cleans rows.
        report: Takes the records that do not get through.

    Raises:
        ConfigError: A table lacks a column that is used (``DATA-030``).
    """
    options = Options(config.label_separator, config.label_names)
    checked: set[str] = set()
    for opened, item in intake:
        name = opened.file.name
        if isinstance(item, Rejection):
            report.reject(name, item)
            continue
        if opened.format in _TABLES and name not in checked:
            wanted = [*found.columns.values(), config.split.group, *config.controls]
            _check_columns(item, wanted, name)
            checked.add(name)
        try:
            row = found.shape.convert(item.values, found.columns, options)
            _check_texts(row, config.max_record_bytes)
        except RowError as error:
            report.reject(name, _rejection(item, error.reason, error.detail))
            continue
        row, reason = cleaner(row, opened.file.split)
        if reason is not None:
            report.remove(name, _rejection(item, reason, ""))
            continue
        if config.controls:
            row["controls"] = {c: _style(item.values.get(c)) for c in sorted(config.controls)}
        row["source"], row["row"] = name, item.number
        if config.split.group:
            group = item.values.get(config.split.group)
            # What has no group is alone: blank cells are not one large group.
            row["group"] = None if group is None or not str(group).strip() else str(group)
        yield row, opened.file.split


def _style(value: Any) -> str | None:
    """Return the value of a control; None where a row has none."""
    return None if value is None or not str(value).strip() else str(value).strip()


def _check_columns(record: Record, columns: Sequence[str | None], name: str) -> None:
    for column in columns:
        if column is not None and column not in record.values:
            hint = closest(column, record.values)
            raise ConfigError("DATA-030", path=name, column=column, hint=hint)


def _check_texts(row: Row, max_chars: int) -> None:
    texts = all_texts(row)
    for text in texts:
        if problem := text_problem(text):
            raise RowError(*problem)
    if sum(map(len, texts)) > max_chars:
        raise RowError("too_large", "the record is larger than max_record_bytes")


def _rejection(record: Record, reason: str, detail: str) -> Rejection:
    excerpt = excerpt_of(json.dumps(record.values, ensure_ascii=False, default=str))
    return Rejection(record.number, record.line, reason, detail, excerpt)


def _written(config: PrepareConfig) -> str:
    source = config.source
    parts = list(source.values()) if isinstance(source, dict) else [source]
    return ", ".join(word for part in parts for word in ([part] if isinstance(part, str) else part))
