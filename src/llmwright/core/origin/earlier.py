"""Earlier runs that a new one could have gone on from, or does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from llmwright.core.config import Config
from llmwright.core.index import RunRow, run_folder
from llmwright.core.layers import differences
from llmwright.core.locale import text
from llmwright.core.project import Project
from llmwright.core.runs import KILLS


def shorter(
    project: Project, row: RunRow, config: Config, fingerprint: Callable[[Config], str]
) -> Path | None:
    """Return the folder of the newest run that did the same as far as its budget went, or None.

    Args:
        project: The project.
        row: The run that begins.
        config: Its settings; they say which of them are a budget.
        fingerprint: Says what identifies the same work with other settings.
    """
    if not config.extended_by:
        return None
    for before in project.index.runs(operation=row.operation):
        if before.id == row.id or before.status == "running":
            continue
        budget = {name: before.config.get(name) for name in config.extended_by}
        if fingerprint(config.model_copy(update=budget)) == before.fingerprint:
            return run_folder(project.home, before.id)
    return None


def left_behind(project: Project, row: RunRow, config: Config) -> Iterator[str]:
    """Yield what to say of an earlier run that could go on, were its settings still the same."""
    runs = (r for r in project.index.runs(step=row.step) if r.id != row.id)
    before = next(runs, None)
    if before is None or before.status == "running":
        return
    # What can be extended could go on even from its end.
    folder = run_folder(project.home, before.id)
    could = before.status != "finished" and (folder / KILLS).is_file()
    if not could and not config.extended_by:
        return
    old, new = ({**each.config, "inputs": project.index.inputs(each.id)} for each in (before, row))
    changes = differences(old, new)
    if not changes:
        return
    if config.extended_by:
        names = ", ".join(config.extended_by)
        yield text("core.not_extended", run=before.id, changes=changes, names=names)
    else:
        yield text("core.left_behind", run=before.id, changes=changes)
