"""From a folder to its index: what changed is read, cut and embedded, all else is taken over.

Shapes: N passages, D features.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.core.locale import text as sentence
from llmwright.knowledge import index as indexes
from llmwright.knowledge.config import KnowledgeConfig
from llmwright.knowledge.dense import Encoder, gauge
from llmwright.knowledge.folder import Found, LeftOut, find_documents
from llmwright.knowledge.index import Contents, Index, IndexedFile
from llmwright.knowledge.passages import Passage, read_passages
from llmwright.knowledge.words import words

FOLDER = "knowledge"
EMBEDDED_TOGETHER = 64
_NAMED = 5
# A file system's clock may be this coarse: what was written as shortly before the index was made
# may have been written again since.
_RACY_NS = 2_000_000_000


class Reports(Protocol):
    """Who is told what happens; a `Run` is one."""

    def notice(self, sentence: str, level: Literal["info", "warning"] = "info") -> None:
        """Take a sentence for the user."""

    def progress(
        self, stage: str, done: float, total: float | None, unit: str = "", **values: float
    ) -> None:
        """Take how far the work is."""


class Silent:
    """Tells nobody."""

    def notice(self, sentence: str, level: Literal["info", "warning"] = "info") -> None:
        """Take a sentence."""

    def progress(
        self, stage: str, done: float, total: float | None, unit: str = "", **values: float
    ) -> None:
        """Take how far the work is."""


def open_index(
    config: KnowledgeConfig, root: Path, home: Path, encoder: Encoder | None, reports: Reports
) -> Index:
    """Return the index of a folder as it is now, made or renewed where it has to be.

    Args:
        config: The folder and how it is read.
        root: Where relative paths start.
        home: The project's ``.llmwright``.
        encoder: Embeds the passages; None where words alone are searched.
        reports: Is told what is read, left out and how far the work is.

    Raises:
        InputError: No such folder (``KNOW-001``), or nothing in it to search (``KNOW-002``).
        ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
    """
    found, left_out = find_documents(config, root)
    folder = (root / os.path.expanduser(config.folder)).resolve()
    base = home / FOLDER / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    with indexes.alone(base, lambda: reports.notice(sentence("knowledge.waiting"))):
        identity = encoder.identity if encoder else None
        before = indexes.nearest(base, indexes.cutting_of(config), identity)
        opened = _Indexing(config, encoder, reports, before).index(base, found)
    _tell(opened, left_out, folder, reports)
    return opened


@dataclass
class _Indexing:
    """One pass over a folder."""

    config: KnowledgeConfig
    encoder: Encoder | None
    reports: Reports
    before: Index | None
    # Where each passage stands in the index before; None for what was read anew.
    _sources: list[int | None] = field(default_factory=list)

    def index(self, base: Path, found: Sequence[Found]) -> Index:
        cutting = indexes.cutting_of(self.config)
        identity = self.encoder.identity if self.encoder else None
        listed = [self._listed(file) for file in found]
        before = self.before
        if before is not None and before.folder.name == indexes.state_of(listed, cutting, identity):
            return before
        if before is not None and before.cutting != cutting:
            self.before = None
        contents = self._read(found, listed)
        if not contents.passages:
            raise InputError("KNOW-002", path=self.config.folder, count=len(found))
        if self.encoder is not None:
            self._embed(contents, self.encoder)
        return indexes.write(base, contents, self.config, identity)

    def _listed(self, found: Found) -> IndexedFile:
        """Return a file with the hash of its content; only what may have changed is read for it."""
        known = {file.name: file for file in self.before.files} if self.before else {}
        same = known.get(found.name)
        if (
            self.before is not None
            and same is not None
            and same.sha256
            and (same.size_bytes, same.modified_ns) == (found.size_bytes, found.modified_ns)
            and found.modified_ns < self.before.created * 1e9 - _RACY_NS
        ):
            return same
        try:
            digest = files.sha256_file(found.path)
        except OSError:
            digest = ""
        return IndexedFile(found.name, found.size_bytes, found.modified_ns, digest, 0, None)

    def _read(self, found: Sequence[Found], listed: Sequence[IndexedFile]) -> Contents:
        """Return files, passages and words, what did not change taken from the index before."""
        before = self.before
        old = before.places_of_files() if before else {}
        entries = {file.name: file for file in before.files} if before else {}
        old_words, places = before.words() if before else ([], {})
        contents = Contents([], [], [], dict(places))
        total = sum(file.size_bytes for file in found) / 1e6
        done, num_read = 0.0, 0
        for file, entry in zip(found, listed, strict=True):
            kept = old.get((entry.name, entry.sha256)) if entry.sha256 else None
            if before is not None and kept is not None:
                contents.files.append(replace(entry, **_reading_of(entries[entry.name])))
                contents.passages += [before.passage(place) for place in kept]
                contents.word_ids += [old_words[place] for place in kept]
                self._sources += kept
            else:
                passages, left_out = read_passages(file, self.config)
                num, num_read = len(passages), num_read + 1
                contents.files.append(replace(entry, num_passages=num, left_out=left_out))
                contents.passages += passages
                contents.word_ids += [_numbers(passage, contents.places) for passage in passages]
                self._sources += [None] * num
            done += file.size_bytes / 1e6
            self.reports.progress("knowledge_read", done, total, "MB")
        if before is not None:
            kept_count = len(found) - num_read
            self.reports.notice(sentence("knowledge.renewed", kept=kept_count, read=num_read))
        return _without_unused_words(contents)

    def _embed(self, contents: Contents, encoder: Encoder) -> None:
        before = self.before
        usable = before is not None and before.encoder == encoder.identity
        old_ND = before.vectors_ND if before is not None and usable else None
        places: Sequence[int | None] = [None] * len(self._sources)
        places = places if old_ND is None else self._sources
        new = [place for place, source in enumerate(places) if source is None]
        parts: list[np.ndarray] = []
        for start in range(0, len(new), EMBEDDED_TOGETHER):
            part = new[start : start + EMBEDDED_TOGETHER]
            parts.append(encoder.passages([contents.passages[place].searched for place in part]))
            done = min(len(new), start + EMBEDDED_TOGETHER)
            self.reports.progress("knowledge_embed", done, len(new), "passages")
        width = parts[0].shape[1] if parts else old_ND.shape[1] if old_ND is not None else 0
        vectors_ND = np.empty((len(places), width), dtype=np.float32)
        if parts:
            vectors_ND[new] = np.concatenate(parts)
        for place, source in enumerate(places):
            if source is not None and old_ND is not None:
                vectors_ND[place] = old_ND[source]
        contents.vectors_ND = vectors_ND
        contents.gauges = gauge(encoder, contents.passages, vectors_ND)


def _reading_of(entry: IndexedFile) -> dict[str, Any]:
    """Return what reading a file gave."""
    return {"num_passages": entry.num_passages, "left_out": entry.left_out}


def _without_unused_words(contents: Contents) -> Contents:
    """Return contents whose list of words has none of documents that are gone."""
    if not contents.word_ids:
        return contents
    used = np.unique(np.concatenate(contents.word_ids))
    if len(used) < len(contents.places):
        names = list(contents.places)
        renumbered = np.zeros(len(names), dtype=np.int32)
        renumbered[used] = np.arange(len(used))
        contents.places = {names[old]: new for new, old in enumerate(used)}
        contents.word_ids = [renumbered[ids] for ids in contents.word_ids]
    return contents


def _numbers(passage: Passage, places: dict[str, int]) -> np.ndarray:
    """Return the numbers of a passage's words; new words get the next ones."""
    found = [places.setdefault(word, len(places)) for word in words(passage.searched)]
    return np.array(found, dtype=np.int32)


def _tell(index: Index, left_out: Sequence[LeftOut], folder: Path, reports: Reports) -> None:
    """Say what is searched, what is left out and why, and whether the encoder is of use."""
    read = sum(bool(file.num_passages) for file in index.files)
    reports.notice(sentence("knowledge.ready", folder=folder, files=read, passages=len(index)))
    every = [*left_out, *(file.left_out for file in index.files if file.left_out)]
    for reason, count in sorted(Counter(item.reason for item in every).items()):
        of_reason = [item for item in every if item.reason == reason]
        named = ", ".join(_named(item) for item in of_reason[:_NAMED])
        more = sentence("knowledge.more", count=count - _NAMED) if count > _NAMED else ""
        said = sentence(f"knowledge.left_out_{reason}", count=count, names=named + more)
        reports.notice(said, "warning")
    for language, found in sorted(index.gauges.items()):
        name = sentence(f"knowledge.language_{language}")
        share = f"{found.found:.0%}"
        key = "knowledge.encoder_holds" if found.holds else "knowledge.encoder_fails"
        said = sentence(key, language=name, share=share, count=found.num_sentences)
        reports.notice(said, "info" if found.holds else "warning")


def _named(item: LeftOut) -> str:
    return f"{item.name} ({item.detail})" if item.detail else item.name
