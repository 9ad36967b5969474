"""What an adapter stands on: which weights, where they lie, and that they are still the same.

An adapter's folder has ``base.json`` beside ``adapter_model.safetensors``: without these very
weights below it, it means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from llmwright.core import files
from llmwright.core.artifacts import Store
from llmwright.core.errors import InputError
from llmwright.core.project import STORE_NAME
from llmwright.models.pickled import may_unpickle

BASE_FILE = "base.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

# Path, size and time of a file → its hash: a base is read once for each model that is opened.
_HASHES: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True)
class Base:
    """The model below an adapter.

    Attributes:
        kind: ``artifact`` (of the same project), ``hub`` or ``folder``.
        name: Artifact id, hub id, or the folder's path as it was given.
        revision: Commit of a hub model.
        sha256: Hash of its weights.
        number_format: Format its weights are rounded to: ``float32`` (not at all) or ``nf4``.
    """

    kind: Literal["artifact", "hub", "folder"]
    name: str
    revision: str | None
    sha256: str
    number_format: Literal["float32", "nf4"] = "float32"

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:12]}" if self.revision else self.name

    def rounded_to(self, number_format: Literal["nf4"]) -> Base:
        """Return the same weights as they are after being stored in another format."""
        return replace(self, number_format=number_format)

    def save(self, folder: Path) -> None:
        """Write ``base.json``."""
        files.write_json(folder / BASE_FILE, asdict(self))

    @classmethod
    def open(cls, folder: Path) -> Base:
        """Return the base of the adapter in a folder.

        Raises:
            InputError: ``base.json`` is missing or damaged (``MODEL-050``).
        """
        try:
            values: dict[str, Any] = files.read_json(folder / BASE_FILE)
            return cls(**values)
        except (OSError, ValueError, TypeError) as error:
            raise InputError("MODEL-050", path=folder / BASE_FILE, reason=str(error)) from error

    def candidates(self, adapter: Path) -> Iterator[Path]:
        """Yield where a base that is no hub model may lie, the likeliest place first.

        Args:
            adapter: The adapter's folder.
        """
        stores = list(_stores_near(adapter))
        if self.kind == "folder":
            yield from (store.parent / Path(self.name).expanduser() for store in stores)
            yield Path(self.name).expanduser()
            return
        yield from (found for store in stores if (found := Store(store).folder(self.name)))
        # Copied elsewhere together, under its own name.
        yield adapter.parent / self.name

    def check(self, adapter: Path, folder: Path) -> None:
        """Compare the weights in a folder with those the adapter was trained on.

        Raises:
            InputError: They are others (``MODEL-052``).
        """
        if weights_sha256(folder) != self.sha256:
            raise InputError("MODEL-052", path=adapter, base=str(self), folder=folder)


def _stores_near(adapter: Path) -> Iterator[Path]:
    """Yield the stores around the adapter, then that of the current project."""
    seen = set()
    for place in (adapter.resolve(), Path.cwd()):
        for folder in (place, *place.parents):
            store = folder if folder.name == STORE_NAME else folder / STORE_NAME
            if store.is_dir() and store not in seen:
                seen.add(store)
                yield store


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter instead of a whole model."""
    return (folder / ADAPTER_WEIGHTS).is_file() and not any(folder.glob("model*.safetensors"))


def holds_weights(folder: Path) -> bool:
    """Say whether a folder holds a model's or an adapter's weights, in a form that may be read."""
    safe = is_adapter(folder) or any(folder.glob("model*.safetensors"))
    return safe or may_unpickle(folder)


def weights_sha256(folder: Path) -> str:
    """Return the hash of a whole model's weights, over names and contents of their files."""
    found = sorted(folder.glob("model*.safetensors"))
    return files.sha256_json({path.name: _file_sha256(path) for path in found})


def _file_sha256(path: Path) -> str:
    facts = path.stat()
    key = (str(path.resolve()), facts.st_size, facts.st_mtime_ns)
    if key not in _HASHES:
        _HASHES[key] = files.sha256_file(path)
    return _HASHES[key]
