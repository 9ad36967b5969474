"""Whether rows that are measured were learned: then figures are too good, and that is said."""

from __future__ import annotations

from collections.abc import Sequence

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.origin import lineage
from llmwright.data.content import KEY_COLUMNS, input_key
from llmwright.data.records import Dataset, Row


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
    for identity in set(lineage.ids(store, model)) - {dataset.id}:
        path = store.folder(identity)
        if path is None or path.parent.name != "dataset":
            continue
        learned = Dataset.open(path)
        if "train" in learned.splits:
            keys = (input_key(row) for row in learned.stream("train", KEY_COLUMNS))
            found |= wanted.intersection(keys)
    return sum(key in found for key in asked)
