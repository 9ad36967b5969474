"""Whether rows that are measured were learned: then figures are too good, and that is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llmwright.core.artifacts import MANIFEST, Artifact, Store, read_manifest
from llmwright.data.content import input_key
from llmwright.data.records import Dataset, Row

if TYPE_CHECKING:
    from pathlib import Path

# All that `input_key` looks at.
COLUMNS = ("text", "text_pair", "input", "tokens", "messages", "prompt")


def count_seen(rows: Sequence[Row], dataset: Artifact, model: Artifact, store: Store) -> int:
    """Return how many rows stand in a training split that the model, or its base, learned from.

    The dataset itself is left out: `prepare` keeps its splits apart. So are datasets that are no
    longer in the project.

    Args:
        rows: Canonical rows that are measured.
        dataset: Where they come from.
        model: A model, or what was made of one.
        store: The project's artifacts.
    """
    asked = [input_key(row) for row in rows]
    wanted, found = set(asked), set[bytes]()
    for path in learned_from(model.path, store):
        learned = Dataset.open(path)
        if path.name != dataset.id and "train" in learned.splits:
            keys = (input_key(row) for row in learned.stream("train", COLUMNS))
            found |= wanted.intersection(keys)
    return sum(key in found for key in asked)


def learned_from(folder: Path, store: Store) -> Iterator[Path]:
    """Yield the folders of all datasets behind an artifact and the models it came from."""
    if not (folder / MANIFEST).is_file():
        return
    for identity in read_manifest(folder)["origin"].get("inputs", {}).values():
        made_of = store.folder(identity)
        if made_of is None:
            continue
        if made_of.parent.name == "dataset":
            yield made_of
        else:
            yield from learned_from(made_of, store)
