"""Read word vectors from the text files of word2vec, fastText and GloVe.

A file may have millions of lines and a model a few thousand words, so only lines of wanted words
are parsed.
"""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmwright.core.errors import ConfigError, InputError
from llmwright.core.locale import text
from llmwright.models.vectors.config import VectorFile
from llmwright.models.vectors.fill import VectorRequest, words_of

GZIP_MAGIC = b"\x1f\x8b"
# Less than this share of the words tells of another language, another spelling or pieces of words.
MIN_COVERAGE = 0.03
_SHOWN = 5


@dataclass(frozen=True)
class Layout:
    """How a file is laid out.

    Attributes:
        path: The file.
        size: Numbers in a vector.
        num_words: What its first line promises; None where it has no such line.
    """

    path: Path
    size: int
    num_words: int | None


def layout_of(path: Path) -> Layout:
    """Return how a file of vectors is laid out, from its first lines.

    Raises:
        InputError: It cannot be read (``MODEL-040``) or is no text file of vectors (``MODEL-041``).
    """
    lines = [line for _, line in itertools.islice(lines_of(path), 2)]
    if not lines:
        raise InputError("MODEL-041", path=path, line=1, reason=text("models.vectors_empty"))
    if any(b"\0" in line for line in lines):
        reason = text("models.vectors_binary")
        raise InputError("MODEL-041", path=path, line=1, reason=reason)
    first = lines[0].split()
    if len(first) == 2 and all(part.isdigit() for part in first):
        return Layout(path, int(first[1]), int(first[0]))
    size = len(first) - 1
    # The first word of such a file is a frequent one without a space in it.
    numbers_of(first[1:], size, path, 1)
    return Layout(path, size, None)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each line, of a compressed file too.

    Raises:
        InputError: It cannot be read (``MODEL-040``).
    """
    try:
        with path.open("rb") as plain:
            compressed = plain.read(2) == GZIP_MAGIC
        with gzip.open(path) if compressed else path.open("rb") as file:
            yield from enumerate(file, start=1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("MODEL-040", path=path, reason=str(error)) from error


def numbers_of(parts: list[bytes], size: int, path: Path, line: int) -> np.ndarray:
    """Return one vector.

    Raises:
        InputError: There are more or fewer numbers, or something else (``MODEL-041``).
    """
    try:
        values = np.array([float(part) for part in parts], dtype=np.float32)
    except ValueError as error:
        raise InputError("MODEL-041", path=path, line=line, reason=str(error)) from error
    if len(values) != size or not size or not np.isfinite(values).all():
        reason = text("models.vectors_numbers", found=len(values), size=size)
        raise InputError("MODEL-041", path=path, line=line, reason=reason)
    return values


def embedding_size_of(vectors: VectorFile, root: Path | None, asked: int | None) -> int:
    """Return the size of a file's vectors.

    Args:
        vectors: Names the file.
        root: Where a relative path starts.
        asked: Size the model shall have; None for that of the file.

    Raises:
        ConfigError: Another size is asked for (``MODEL-042``).
        InputError: As `layout_of`.
    """
    size = layout_of(_located(vectors, root)).size
    if asked is not None and asked != size:
        where = "train.model.architecture.embedding_size"
        raise ConfigError("MODEL-042", where=where, path=vectors.file, size=size, asked=asked)
    return size


def _located(vectors: VectorFile, root: Path | None) -> Path:
    return (root or Path()) / Path(vectors.file).expanduser()


def read_vectors(vectors: VectorFile, request: VectorRequest) -> dict[int, np.ndarray]:
    """Return token id → vector for the tokens whose words the file knows, as spelt or lower-case.

    Raises:
        InputError: The file cannot be used (``MODEL-040``, ``MODEL-041``) or knows hardly any of
            the words (``MODEL-043``).
    """
    layout = layout_of(_located(vectors, request.root))
    words = words_of(request.tokenizer)
    wanted = {word.encode() for word in words.values()}
    known = known_vectors(layout, wanted | {word.lower() for word in wanted})
    found: dict[int, np.ndarray] = {}
    lowered = 0
    for index, word in words.items():
        vector = known.get(word.encode())
        if vector is None:
            vector = known.get(word.lower().encode())
            lowered += vector is not None
        if vector is not None:
            found[index] = vector
    if len(found) < MIN_COVERAGE * len(words) or not found:
        missing = (word for index, word in words.items() if index not in found)
        raise InputError(
            "MODEL-043",
            path=layout.path,
            found=f"{len(found):,}",
            total=f"{len(words):,}",
            missing=_quoted(missing),
            present=_quoted(_first_words(layout)),
        )
    if lowered:
        request.notice(text("models.vectors_lowered", count=f"{lowered:,}"))
    return found


def known_vectors(layout: Layout, wanted: set[bytes]) -> dict[bytes, np.ndarray]:
    """Return word → vector for wanted words that a file has; of doubles, the first.

    Raises:
        InputError: The file ends early or a line is damaged (``MODEL-041``).
    """
    found: dict[bytes, np.ndarray] = {}
    lines = lines_of(layout.path)
    number = 0
    if layout.num_words is not None:
        next(lines)
    for number, line in lines:
        word, *_ = line.split(None, 1) or [b""]
        if word in wanted and word not in found:
            parts = line.split()
            # Some files have words with spaces in them, as in ". . ."; no token is such a word.
            if len(parts) > layout.size + 1:
                continue
            found[word] = numbers_of(parts[1:], layout.size, layout.path, number)
    if layout.num_words is not None and number - 1 < layout.num_words:
        there, wanted_there = f"{number - 1:,}", f"{layout.num_words:,}"
        reason = text("models.vectors_cut", found=there, total=wanted_there)
        raise InputError("MODEL-041", path=layout.path, line=number, reason=reason)
    return found


def _first_words(layout: Layout) -> Iterator[str]:
    for number, line in lines_of(layout.path):
        if number > 1 or layout.num_words is None:
            yield (line.split() or [b""])[0].decode(errors="replace")


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f'"{word}"' for word in itertools.islice(words, _SHOWN))
