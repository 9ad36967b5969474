"""The index of a folder on the disk: complete or not there, and memory-mapped.

``<home>/knowledge/<folder's key>/<state's key>/``. The state's key is the hash of the files'
contents, the settings and the encoder, so a folder that did not change is opened as it is. One that
did is read only where it changed: all other passages, words and vectors come from the newest index.

Shapes: N passages, D features.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmwright.core import files
from llmwright.knowledge.config import KnowledgeConfig
from llmwright.knowledge.dense import Gauge
from llmwright.knowledge.folder import LeftOut
from llmwright.knowledge.lexical import Lexicon, places_in
from llmwright.knowledge.passages import Passage

# Counted up when the same files would be cut or counted otherwise.
VERSION = 1
HEAD = "index.json"
# Indexes of one folder with other settings that are kept.
MAX_OTHERS = 2
_TEXTS, _TABLE, _HEADINGS = "texts.bin", "passages.npy", "headings.json"
_WORD_IDS, _WORD_ENDS, _VECTORS = "word_ids.npy", "word_ends.npy", "vectors.npy"
_COLUMNS = ("file", "row", "start", "end", "heading", "text_end")


@dataclass(frozen=True)
class IndexedFile:
    """A file as it was when it was read; what cannot be opened has an empty hash.

    Attributes:
        name: Its path within the folder.
        size_bytes: Its size.
        modified_ns: When it was last written, in nanoseconds.
        sha256: Hash of its content.
        num_passages: Passages it was cut into; they follow those of the files before it.
        left_out: What could not be read of it.
    """

    name: str
    size_bytes: int
    modified_ns: int
    sha256: str
    num_passages: int
    left_out: LeftOut | None


@dataclass
class Contents:
    """What an index is made of.

    Attributes:
        files: The files, in order.
        passages: Their passages.
        word_ids: Numbers of each passage's words.
        places: Number of each word, in the order of the numbers.
        vectors_ND: Embeddings of the passages; None without an encoder.
        gauges: What their cosines mean, by language.
    """

    files: list[IndexedFile]
    passages: list[Passage]
    word_ids: list[np.ndarray]
    places: dict[str, int]
    vectors_ND: np.ndarray | None = None
    gauges: dict[str, Gauge] | None = None


def cutting_of(config: KnowledgeConfig) -> dict[str, Any]:
    """Return the settings that decide how files are cut."""
    return {
        "version": VERSION,
        "size": config.passage_size,
        "overlap": config.overlap,
        "columns": list(config.columns),
    }


def state_of(listed: Sequence[IndexedFile], cutting: dict[str, Any], encoder: str | None) -> str:
    """Return the key of a folder's state.

    Args:
        listed: Its files.
        cutting: As `cutting_of` says.
        encoder: What decides the embeddings; None without.
    """
    contents = [[file.name, file.sha256] for file in listed]
    return files.sha256_json({"files": contents, "cutting": cutting, "encoder": encoder})[:16]


class Index:
    """A finished index. All of it is opened at once: what is mapped may be removed by another one.

    Args:
        folder: Where it is.
        head: What its ``index.json`` says.

    Attributes:
        lexicon: The words of the passages.
        vectors_ND: Their embeddings; None without an encoder.
        gauges: What the cosines of those mean, by language.
    """

    def __init__(self, folder: Path, head: dict[str, Any]) -> None:
        self.folder = folder
        self.cutting: dict[str, Any] = head["cutting"]
        self.encoder: str | None = head["encoder"]
        self.created: float = head["created"]
        self.files = [_file_of(entry) for entry in head["files"]]
        self.gauges = {name: Gauge(**figures) for name, figures in head["gauges"].items()}
        self._table: np.ndarray = np.load(folder / _TABLE, mmap_mode="r")
        self._headings: list[str] = files.read_json(folder / _HEADINGS)
        self._texts = np.memmap(folder / _TEXTS, dtype=np.uint8, mode="r")
        self.lexicon = Lexicon.open(folder)
        vectors = folder / _VECTORS
        self.vectors_ND = np.load(vectors, mmap_mode="r") if vectors.is_file() else None

    @classmethod
    def open(cls, folder: Path) -> Index | None:
        """Return the index in a folder; None where a file of it is missing or damaged."""
        try:
            head = files.read_json(folder / HEAD)
            for name, digest in head["hashes"].items():
                if files.sha256_file(folder / name) != digest:
                    return None
            return cls(folder, head)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __len__(self) -> int:
        return len(self._table)

    def passage(self, place: int) -> Passage:
        """Return one passage."""
        entry = dict(zip(_COLUMNS, self._table[place].tolist(), strict=True))
        first = int(self._table[place - 1][-1]) if place else 0
        text = self._texts[first : entry["text_end"]].tobytes().decode("utf-8")
        return Passage(
            source=self.files[entry["file"]].name,
            text=text,
            start=entry["start"],
            end=entry["end"],
            heading=self._headings[entry["heading"]],
            row=entry["row"] or None,
        )

    def places_of_files(self) -> dict[tuple[str, str], range]:
        """Return which passages each file has, by its name and the hash of its content."""
        found: dict[tuple[str, str], range] = {}
        start = 0
        for file in self.files:
            found[file.name, file.sha256] = range(start, start + file.num_passages)
            start += file.num_passages
        return found

    def words(self) -> tuple[list[np.ndarray], dict[str, int]]:
        """Return the numbers of each passage's words, and the number of each word."""
        ids = np.load(self.folder / _WORD_IDS, mmap_mode="r")
        ends = np.load(self.folder / _WORD_ENDS)
        return np.split(ids, ends[:-1]), places_in(self.folder)


def _file_of(entry: dict[str, Any]) -> IndexedFile:
    left_out = entry["left_out"]
    return IndexedFile(**{**entry, "left_out": LeftOut(**left_out) if left_out else None})


def nearest(base: Path, cutting: dict[str, Any], encoder: str | None) -> Index | None:
    """Return the sound index of a folder that most can be taken from: of the same settings, if any.

    Args:
        base: Folder of its indexes.
        cutting: How files are to be cut.
        encoder: What is to decide the embeddings.
    """

    def nearness(head: dict[str, Any]) -> tuple[bool, bool, float]:
        same = head.get("cutting") == cutting
        return same and head.get("encoder") == encoder, same, head.get("created", 0.0)

    heads = sorted(_heads(base), key=lambda entry: nearness(entry[1]), reverse=True)
    return next((index for folder, _ in heads if (index := Index.open(folder))), None)


def _heads(base: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the indexes of a folder with what their heads say; nothing of a damaged head."""
    found = []
    for path in base.glob(f"*/{HEAD}"):
        try:
            head = files.read_json(path)
        except (OSError, ValueError):
            head = {}
        found.append((path.parent, head if isinstance(head, dict) else {}))
    return found


def write(base: Path, contents: Contents, config: KnowledgeConfig, encoder: str | None) -> Index:
    """Write an index beside the one in use, then put it in its place.

    The one of the same settings goes; a few of other settings stay, for those who use them in turn.

    Args:
        base: Folder of the indexes of one folder.
        contents: What is written.
        config: How the files were cut.
        encoder: What decided the embeddings; None without.

    Raises:
        ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
    """
    cutting = cutting_of(config)
    target = base / state_of(contents.files, cutting, encoder)
    temporary = base / f"{uuid.uuid4().hex}.tmp"
    with files.disk_errors(base):
        base.mkdir(parents=True, exist_ok=True)
        _remove(base.glob("*.tmp"))
        try:
            temporary.mkdir()
            _fill(temporary, contents)
            written = sorted(path for path in temporary.iterdir())
            for path in written:
                files.sync_file(path)
            head = {
                "cutting": cutting,
                "encoder": encoder,
                "created": time.time(),
                "files": [asdict(file) for file in contents.files],
                "gauges": {name: asdict(one) for name, one in (contents.gauges or {}).items()},
                "hashes": {path.name: files.sha256_file(path) for path in written},
            }
            files.write_json(temporary / HEAD, head)
            _remove([target])
            temporary.replace(target)
        except BaseException:
            _remove([temporary])
            raise
        files.sync_folder(base)
    others = [(folder, head) for folder, head in _heads(base) if folder != target]
    others.sort(key=lambda entry: entry[1].get("created", 0.0), reverse=True)
    settings = (cutting, encoder)
    kept = [f for f, h in others if h and (h.get("cutting"), h.get("encoder")) != settings]
    _remove([folder for folder, _ in others if folder not in kept[:MAX_OTHERS]])
    return Index(target, head)


def _remove(paths: Iterator[Path] | Sequence[Path]) -> None:
    for path in list(paths):
        # Another system may not remove what a running server has mapped; the next start does.
        shutil.rmtree(path, ignore_errors=True)


def _fill(folder: Path, contents: Contents) -> None:
    passages = contents.passages
    headings = {passage.heading: None for passage in passages}
    heading_places = {heading: place for place, heading in enumerate(headings)}
    numbers = np.repeat(
        np.arange(len(contents.files)), [file.num_passages for file in contents.files]
    )
    table = np.zeros((len(passages), len(_COLUMNS)), dtype=np.int64)
    text_end = 0
    with (folder / _TEXTS).open("wb") as texts:
        for place, passage in enumerate(passages):
            text_end += texts.write(passage.text.encode())
            heading = heading_places[passage.heading]
            row = (passage.row or 0, passage.start, passage.end, heading, text_end)
            table[place] = (numbers[place], *row)
    np.save(folder / _TABLE, table)
    files.write_json(folder / _HEADINGS, list(headings))
    np.save(folder / _WORD_IDS, np.concatenate(contents.word_ids).astype(np.int32))
    np.save(folder / _WORD_ENDS, np.cumsum([len(ids) for ids in contents.word_ids]))
    Lexicon.build(contents.word_ids, contents.places, folder)
    if contents.vectors_ND is not None:
        np.save(folder / _VECTORS, contents.vectors_ND.astype(np.float32))


@contextlib.contextmanager
def alone(base: Path, waiting: Any) -> Iterator[None]:
    """Within this block no other process makes an index of the same folder.

    Args:
        base: Folder of its indexes.
        waiting: Called once where another process does so now.
    """
    lock = base.with_name(base.name + ".lock")
    held = files.hold(lock)
    if held is None:
        waiting()
    while held is None:
        held = files.hold(lock)
    with held:
        yield
