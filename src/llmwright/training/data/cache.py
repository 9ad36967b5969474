"""The token cache: a split is encoded once, whatever is trained on it, and however often.

Below ``.llmwright/cache/tokens`` each folder is named by the hash of all that its content depends
on: the dataset, the tokenizer, the encoding with its code, and what a contract says about it. It
may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core import files
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Encoding
from llmwright.tokenization.steps import steps_of
from llmwright.training.data.stored import INDEX, Piece, StoredExamples, write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WAIT_SECONDS = 0.1
UNUSED_SECONDS = 30 * 24 * 3600.0
# What of a contract is written down after rows are encoded, or is about answers.
WITHOUT = {"profile", "probes", "num_parameters", "model_type", "generation", "threshold"}
LIBRARIES = ("transformers", "tokenizers", "jieba")
SOURCES = ("tasks", "tokenization", "training/data")


@dataclass(frozen=True)
class TokenCache:
    """Encoded splits of one dataset, by one tokenizer and one encoding.

    Attributes:
        folder: Of the cache; shared with all other datasets.
        subject: What the content of all its entries depends on.
        on_use: Called with the split, the bytes on the disk, and whether they are new.
    """

    folder: Path
    subject: dict[str, Any]
    on_use: Callable[[str, int, bool], None]

    @classmethod
    def of(
        cls,
        folder: Path,
        rows: dict[str, str],
        tokenizer: PreTrainedTokenizerFast,
        encoding: Encoding,
        on_use: Callable[[str, int, bool], None],
    ) -> TokenCache:
        """Return the cache of a dataset.

        Args:
            folder: Of the cache.
            rows: What decides them: the dataset's id, and what is changed in them before.
            tokenizer: Encodes its rows.
            encoding: Says how.
            on_use: As the attribute.
        """
        subject = {
            "rows": rows,
            "tokenizer": identity_of(tokenizer),
            "encoding": f"{type(encoding).__module__}:{type(encoding).__qualname__}",
            "options": vars(encoding),
            "code": code_of(encoding),
        }
        return cls(folder, subject, on_use)

    def keep(
        self,
        split: str,
        contract: Contract,
        how: dict[str, Any],
        pieces: Callable[[], Iterator[Piece]],
    ) -> StoredExamples:
        """Return the examples of a split from the disk, written there first where they are not.

        Args:
            split: Its name.
            contract: Says how rows are encoded.
            how: Whatever else does.
            pieces: Encodes the rows; whatever it raises leaves nothing behind.

        Raises:
            ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
        """
        subject = self.subject | {"contract": contract.model_dump(mode="json", exclude=WITHOUT)}
        path = self.folder / files.sha256_json(subject | {"split": split, "how": how})[:32]
        found = read(path)
        if found is None:
            # Another run on the same data may be at it: then this one waits for its result.
            with alone(path.with_suffix(".lock")):
                found = read(path)
                new = found is None
                if found is None:
                    self._write(path, pieces)
                    found = StoredExamples(path)
        else:
            new = False
        self.on_use(split, sum(file.stat().st_size for file in path.iterdir()), new)
        return found

    def _write(self, path: Path, pieces: Callable[[], Iterator[Piece]]) -> None:
        temporary = path.with_suffix(".tmp")
        with files.disk_errors(path):
            for left in (path, temporary):
                shutil.rmtree(left, ignore_errors=True)
            self._remove_unused()
            try:
                temporary.mkdir(parents=True)
                write(temporary, pieces())
                temporary.rename(path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _remove_unused(self) -> None:
        for index in self.folder.glob(f"*/{INDEX}"):
            with contextlib.suppress(OSError):
                if time.time() - index.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(index.parent)


def read(path: Path) -> StoredExamples | None:
    """Return what a folder holds; None where it is not there or not whole."""
    try:
        found = StoredExamples(path)
        os.utime(path / INDEX)
    except (OSError, ValueError, KeyError):
        return None
    return found


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Within this block no other process is within the block of the same lock."""
    while (held := files.hold(lock, tries=1)) is None:
        time.sleep(WAIT_SECONDS)
    with held:
        try:
            yield
        finally:
            # Where a file that is open cannot be removed, it stays; it is empty.
            with contextlib.suppress(OSError):
                lock.unlink()


def identity_of(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a hash of all that decides how a tokenizer cuts and frames a text."""
    return files.sha256_json(
        {
            "tokenizer": tokenizer.backend_tokenizer.to_str(),
            "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
            "template": tokenizer.chat_template,
            "steps": steps_of(tokenizer),
        }
    )


def code_of(encoding: Encoding) -> str:
    """Return a hash of the code that encodes, and of the libraries it stands on."""
    root = Path(inspect.getfile(files)).parents[1]
    sources = {path for name in SOURCES for path in (root / name).glob("*.py")}
    # A plugin's own; one that was not read from a file is in every fingerprint by its hash.
    own = Path(inspect.getfile(type(encoding)))
    sources |= {own} if own.is_file() else set()
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return files.sha256_json(
        {"code": [files.sha256_file(path) for path in sorted(sources)], "libraries": versions}
    )
