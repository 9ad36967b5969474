"""Where an artifact comes from: the run that made it, that run's inputs, and so on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmwright.core import files
from llmwright.core.artifacts import MANIFEST, Artifact
from llmwright.core.project import Project

Node = dict[str, Any]


def trace(project: Project, artifact: Artifact) -> Node:
    """Return the tree of an artifact's origin, read from the manifests themselves.

    Each node has ``id``, ``kind``, ``operation``, ``run``, ``files`` (the user's own files of a
    dataset) and ``inputs`` (field → node). An input that was removed has its id only.
    """
    origin = files.read_json(artifact.path / MANIFEST)["origin"]
    stored = {found.id: found for found in project.store.list()}
    inputs = {
        name: trace(project, stored[identity]) if identity in stored else {"id": identity}
        for name, identity in origin.get("inputs", {}).items()
    }
    return {
        "id": artifact.id,
        "kind": artifact.kind,
        "operation": origin.get("operation"),
        "run": origin.get("run"),
        "files": artifact.metadata.get("sources", []),
        "inputs": inputs,
    }


def lines(node: Node, field: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the tree as indented lines, the artifact first, its sources below."""
    mark = f"{'   ' * (depth - 1)}└─ {field}: " if depth else ""
    yield f"{mark}{node.get('kind', '?')} {node['id']}  ({node.get('operation')}, {node.get('run')})"
    for source in node.get("files", []):
        path = source["path"] if isinstance(source, dict) else source
        yield f"{'   ' * depth}└─ {path}"
    for name, child in node.get("inputs", {}).items():
        yield from lines(child, name, depth + 1)
