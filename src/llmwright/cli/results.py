"""What people see when a command is done: what was made, its metrics and its parity table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmwright.cli import render
from llmwright.core.artifacts import Artifact
from llmwright.core.locale import text
from llmwright.core.pipeline import Done


def show_done(done: Sequence[Done], as_json: bool) -> None:
    """Show what a command made."""
    if as_json:
        render.print_json({"steps": [describe(one) for one in done]})
        return
    made = [one.artifact for one in done if one.artifact is not None]
    if made:
        render.print_table("", ["", "", ""], [(a.kind, a.id, near(a.path)) for a in made])
    show_tables(made)


def near(path: Path) -> Path:
    """Return a path as one would type it here: from the current folder where it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def describe(done: Done) -> dict[str, Any]:
    """Return a finished step as plain JSON values."""
    made = done.artifact
    return {
        "step": done.step,
        "run": done.run,
        "reused": done.reused,
        "seconds": round(done.seconds, 3),
        "artifact": made
        and {"id": made.id, "kind": made.kind, "path": str(made.path), "metadata": made.metadata},
    }


def show_tables(made: Sequence[Artifact]) -> None:
    """Show the metrics and the parity tables that artifacts carry."""
    for artifact in made:
        if "metrics" in artifact.metadata:
            headings = [text("cli.metric"), text("cli.value"), text("cli.interval")]
            title = text("cli.metrics", split=render.word(artifact.metadata["split"]))
            render.print_table(title, headings, metric_rows(artifact.metadata))
        if "parity" in artifact.metadata:
            headings = [text("cli.check"), text("cli.value"), text("cli.limit"), ""]
            parity = artifact.metadata["parity"]
            counts = {name: parity[name] for name in ("engine", "probes", "recorded")}
            what = artifact.metadata.get("target", f"{artifact.kind} {artifact.id}")
            title = text("cli.parity", what=what, **counts)
            render.print_table(title, headings, parity_rows(parity))
        if "reproduction" in artifact.metadata:
            show_reproduction(artifact.metadata["reproduction"])


def show_reproduction(body: Mapping[str, Any]) -> None:
    """Show what was compared with what a run made before."""
    headings = ["", text("cli.recorded_column"), text("cli.made_column"), text("cli.difference")]
    rows = [
        (
            render.word(found["name"]),
            found["recorded"],
            found["made"],
            "–" if found["difference"] is None else f"{found['difference']:.3g}",
            "✓" if found["within"] else "✗",
        )
        for found in body["findings"]
    ]
    title = text("cli.reproduced", run=body["run"], expected=body["expected"], made=body["made"])
    render.print_table(title, [*headings, ""], rows)


def metric_rows(metadata: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and interval of each metric of a report."""
    rows = []
    for name, value in metadata["metrics"].items():
        low, high = metadata["intervals"].get(name) or (None, None)
        interval = "" if low is None or high is None else f"{low:.4f} – {high:.4f}"
        rows.append((name, "–" if value is None else f"{value:.4f}", interval))
    return rows


def parity_rows(parity: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return what was compared, what was found, what is accepted, and the verdict."""
    return [
        (
            text(f"inference.check_{name}"),
            _shown(value),
            _shown(parity["limits"][name]),
            "✗" if name in parity["failed"] else "✓",
        )
        for name, value in parity["checks"].items()
    ]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2g}"
    # A fact that is a list, as the files that differ, may be empty.
    return str(value) if value not in ("", []) else "–"
