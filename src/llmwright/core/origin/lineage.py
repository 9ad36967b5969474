"""Where an artifact comes from: the run that made it, that run's inputs, and so on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmwright.core.artifacts import Artifact, Store, read_manifest
from llmwright.core.errors import LLMwrightError
from llmwright.core.project import Project

Node = dict[str, Any]


def trace(project: Project, artifact: Artifact) -> Node:
    """Return the tree of an artifact's origin, read from the manifests themselves.

    Each node has ``id``, ``kind``, ``operation``, ``run``, ``files`` (the sources of a
    dataset, else the local files that were read, such as those of a base model) and ``inputs``
    (field → node). An input that was removed has its id only.
    """
    origin = read_manifest(artifact.path)["origin"]
    inputs: Node = {}
    for name, identity in origin.get("inputs", {}).items():
        stored = project.store.get(identity)
        inputs[name] = trace(project, stored) if stored else {"id": identity}
    return {
        "id": artifact.id,
        "kind": artifact.kind,
        "operation": origin.get("operation"),
        "run": origin.get("run"),
        "files": artifact.metadata.get("sources") or origin.get("files", []),
        "inputs": inputs,
    }


def ids(store: Store, artifact: Artifact) -> Iterator[str]:
    """Yield the id of an artifact and of all it was made from, as far as that is known."""
    waiting: list[tuple[str, Path | None]] = [(artifact.id, artifact.path)]
    for identity, folder in waiting:
        yield identity
        # What was removed or is damaged tells nothing of its own inputs.
        with contextlib.suppress(LLMwrightError):
            made_of = read_manifest(folder)["origin"].get("inputs", {}) if folder else {}
            waiting += [(known, store.folder(known)) for known in made_of.values()]


def lines(node: Node, field: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the tree as indented lines, the artifact first, its sources below."""
    mark = f"{'   ' * (depth - 1)}└─ {field}: " if depth else ""
    maker = f"({node['operation']}, {node['run']})" if "run" in node else "(?)"
    yield f"{mark}{node.get('kind', '?')} {node['id']}  {maker}"
    for source in node.get("files", []):
        known = source if isinstance(source, dict) else {"path": source}
        whose = f"  ({known['kind']} {known['artifact']})" if "artifact" in known else ""
        yield f"{'   ' * depth}└─ {known['path']}{whose}"
    for name, child in node.get("inputs", {}).items():
        yield from lines(child, name, depth + 1)
