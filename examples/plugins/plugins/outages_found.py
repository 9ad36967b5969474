"""A metric of our own: the share of outages that were found. A missed one is what hurts."""

from __future__ import annotations

from collections.abc import Sequence

from llmwright import register


def outages_found(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return the recall of the label ``outage``, 1 when there was none to find."""
    found = [p == "outage" for p, r in zip(predictions, references, strict=True) if r == "outage"]
    return sum(found) / len(found) if found else 1.0


# It compares single labels, not texts or tags; without this it would be offered everywhere.
outages_found.needs = {"label"}

register("metric", "outages_found", outages_found)
