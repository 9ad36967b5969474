"""Commands that look at what a project has done: runs, artifacts, lineage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from llmwright.cli import options, render
from llmwright.cli.operation import find_project
from llmwright.core import artifacts as store
from llmwright.core import events, jobs, layers, pipeline
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, ConfigError, InputError, LLMwrightError, closest
from llmwright.core.index import JobRow, RunRow, run_folder
from llmwright.core.locale import text
from llmwright.core.origin import lineage as history
from llmwright.core.project import Project


@click.group(invoke_without_command=True, help=text("cli.runs"))
@options.project
@options.as_json
@click.pass_context
def runs(ctx: click.Context, folder: Path | None, as_json: bool) -> None:
    """List runs and jobs; subcommands show, follow and stop them."""
    if ctx.invoked_subcommand:
        return
    index = find_project(folder).index
    found, detached = index.runs(), index.jobs()
    if as_json:
        body = {"runs": [asdict(row) for row in found], "jobs": [asdict(job) for job in detached]}
        render.print_json(body)
        return
    headings = [
        text("cli.run_column"),
        text("cli.status"),
        text("cli.started"),
        text("cli.seconds"),
        text("cli.artifact"),
    ]
    render.print_table("", headings, [_run_cells(row) for row in found])
    if detached:
        headings = [text("cli.job"), text("cli.status"), text("cli.started")]
        headings += [text("cli.exit_code"), text("cli.command")]
        cells = [
            (job.id, job.status, _when(job.started), _shown(job.exit_code), " ".join(job.argv[3:]))
            for job in detached
        ]
        render.print_table("", headings, cells)


def _run_cells(row: RunRow) -> tuple[object, ...]:
    took = f"{row.finished - row.started:.1f}" if row.finished else ""
    return (row.id, row.status, _when(row.started), took, row.artifact or "")


def _shown(value: object) -> object:
    return "" if value is None else value


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _find(project: Project, identity: str) -> RunRow | JobRow:
    made = project.index.runs()
    known: list[RunRow | JobRow] = [*made, *project.index.jobs()]
    # The newest run of a step, or the only run or job whose id begins so.
    newest: Sequence[RunRow | JobRow] = [row for row in made if row.step == identity][:1]
    found = newest or [row for row in known if row.id.startswith(identity)]
    if len(found) != 1:
        hint = closest(identity, (row.id for row in known))
        raise ConfigError("CORE-064", identity=identity, count=len(found), hint=hint)
    return found[0]


@runs.command("show", help=text("cli.runs_show"))
@click.argument("identity")
@options.project
@options.as_json
def show(identity: str, folder: Path | None, as_json: bool) -> None:
    """Show one run: its settings, inputs, result and events; of a job how it goes."""
    project = find_project(folder)
    row = _find(project, identity)
    inputs = {} if isinstance(row, JobRow) else project.index.inputs(row.id)
    if as_json:
        render.print_json(
            asdict(row) if isinstance(row, JobRow) else {**asdict(row), "inputs": inputs}
        )
        return
    render.print_table(row.id, ["", ""], _facts(row, inputs))
    if isinstance(row, JobRow):
        return
    with render.Terminal() as terminal:
        for _, event in events.read_events(run_folder(project.home, row.id) / "events.jsonl"):
            if not isinstance(event, events.Progress):
                terminal(event)


def _facts(row: RunRow | JobRow, inputs: dict[str, str]) -> list[tuple[str, object]]:
    """Return what is known of a run or job, one value per line, those not given left out."""
    values = asdict(row)
    if isinstance(row, RunRow):
        values["versions"] = ", ".join(f"{n} {v}" for n, v in row.versions.items())
    else:
        values["argv"] = " ".join(row.argv)
    for moment in {"started", "finished", "used"} & values.keys():
        values[moment] = values[moment] and _when(values[moment])
    flat = [(k, v) for k, v in layers.flat(values).items() if v is not None]
    return [*flat, *((f"← {name}", made) for name, made in inputs.items())]


@runs.command("tail", help=text("cli.runs_tail"))
@click.argument("identity")
@options.project
@options.as_json
def tail(identity: str, folder: Path | None, as_json: bool) -> None:
    """Print a job's output and follow it until it ends."""
    home = find_project(folder).home
    job = jobs.find(home, identity)
    if as_json:
        output = "".join(jobs.tail(home, job))
        render.print_json({"output": output, **asdict(jobs.find(home, job.id))})
        return
    for chunk in jobs.tail(home, job):
        click.echo(chunk, nl=False)


@runs.command("cancel", help=text("cli.runs_cancel"))
@click.argument("identity")
@options.project
@options.as_json
def cancel(identity: str, folder: Path | None, as_json: bool) -> None:
    """Ask a job to stop, so that it saves its state."""
    home = find_project(folder).home
    row = jobs.cancel(home, jobs.find(home, identity))
    if as_json:
        render.print_json(asdict(row))
    else:
        click.echo(f"{row.id}  {row.status}")


@click.group(invoke_without_command=True, help=text("cli.artifacts"))
@options.project
@options.as_json
@click.pass_context
def artifacts(ctx: click.Context, folder: Path | None, as_json: bool) -> None:
    """List artifacts; subcommands check and remove them."""
    if ctx.invoked_subcommand:
        return
    found, damaged = _open(find_project(folder).store.folders())
    if as_json:
        body = [{"id": a.id, "kind": a.kind, "path": a.path, **a.metadata} for a in found]
        render.print_json({"artifacts": body, "damaged": list(damaged)})
        return
    cells = [(a.kind, a.id, render.size(store.size_bytes(a)), a.path) for a in found]
    headings = [text("cli.kind"), text("cli.id"), text("cli.size"), text("cli.folder")]
    render.print_table("", headings, cells)
    for error in damaged.values():
        render.print_error(error.code, error.message, error.fix, error.where)


def _open(folders: Sequence[Path]) -> tuple[list[Artifact], dict[Path, LLMwrightError]]:
    """Return the artifacts of these folders, and of those that are damaged what is wrong."""
    found: list[Artifact] = []
    damaged: dict[Path, LLMwrightError] = {}
    for folder in folders:
        try:
            found.append(Artifact.open(folder))
        except (InputError, CheckError) as error:
            damaged[folder] = error
    return found, damaged


@artifacts.command("check", help=text("cli.artifacts_check"))
@click.argument("references", nargs=-1)
@options.project
@options.as_json
def check(references: tuple[str, ...], folder: Path | None, as_json: bool) -> None:
    """Compare every byte of artifacts with their manifests; all of them, then say what is wrong."""
    project = find_project(folder)
    folders = [pipeline.folder_of(project, name) for name in references]
    chosen, damaged = _open(folders or project.store.folders())
    for artifact in chosen:
        try:
            store.check(artifact)
        except CheckError as error:
            damaged[artifact.path] = error
    faults = list(damaged.values())
    if len(faults) == 1:
        raise faults[0]
    if faults:
        said = "\n".join(f"  {fault.code} {fault.message}" for fault in faults)
        total = len(folders or project.store.folders())
        raise CheckError("CORE-035", count=len(faults), total=total, faults=said)
    if as_json:
        render.print_json({"checked": [artifact.id for artifact in chosen]})
    else:
        click.echo(text("cli.checked", count=len(chosen)))


@artifacts.command("remove", help=text("cli.artifacts_remove"))
@click.argument("reference")
@options.project
@options.as_json
def remove(reference: str, folder: Path | None, as_json: bool) -> None:
    """Delete one artifact; its step runs again when it is needed."""
    project = find_project(folder)
    path = pipeline.folder_of(project, reference)
    project.store.remove(path)
    if as_json:
        render.print_json({"removed": path.name, "kind": path.parent.name})
    else:
        click.echo(text("cli.removed", kind=path.parent.name, identity=path.name))


@click.command(help=text("cli.lineage"))
@click.argument("reference")
@options.project
@options.as_json
def lineage(reference: str, folder: Path | None, as_json: bool) -> None:
    """Show what an artifact was made from, back to the files."""
    project = find_project(folder)
    node = history.trace(project, pipeline.by_reference(project, reference))
    if as_json:
        render.print_json(node)
        return
    for line in history.lines(node):
        click.echo(line)
