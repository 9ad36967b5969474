"""Executing operations: resolve inputs, skip what is unchanged, record what happened.

The pipeline receives the table of operations as an argument; it knows none of them by name.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from llmwright.core import events, files, plugins
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Config, inputs_of, parse
from llmwright.core.errors import ConfigError, InputError, LLMwrightError, StoppedError
from llmwright.core.index import RunRow, Status, process_started
from llmwright.core.operation import Operation, Table
from llmwright.core.project import Project, Section
from llmwright.core.runs import Run, interrupt_on_terminate

RECORDED = (
    "llmwright",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "numpy",
    "polars",
    "onnx",
    "onnxruntime",
    "scikit-learn",
    "sacrebleu",
    "pydantic",
)


@dataclass(frozen=True)
class Done:
    """How a step ended.

    Attributes:
        step: Its name.
        artifact: What it made; None for a service.
        run: The run's id.
        reused: Whether an unchanged earlier run was taken instead.
        seconds: How long it took now.
    """

    step: str
    artifact: Artifact | None
    run: str
    reused: bool
    seconds: float


def configs(project: Project, table: Table) -> list[tuple[Section, Config]]:
    """Return every section of the project file with its validated config, before anything runs."""
    order = list(table)
    return [
        (
            section,
            parse(table[section.verb].config_class(), section.values, section.where, project.lines),
        )
        for section in project.sections(order)
    ]


def run_project(
    project: Project,
    table: Table,
    consumers: Sequence[events.Emit] = (),
    only: Iterable[str] = (),
    fresh: bool = False,
) -> list[Done]:
    """Execute the project's steps in order; unchanged ones are skipped.

    Args:
        project: The project.
        table: The operations.
        consumers: Who receives the events.
        only: Step names to execute; all when empty.
        fresh: Execute even what is unchanged.

    Raises:
        ConfigError: The file has no steps (``CORE-058``), or ``only`` names none (``CORE-059``).
    """
    plugins.load_project_plugins(project)
    steps = [(s, c) for s, c in configs(project, table) if table[s.verb].step]
    if not steps:
        raise ConfigError("CORE-058", path=project.file or project.root)
    unknown = set(only) - {section.step for section, _ in steps}
    if unknown:
        known = ", ".join(section.step for section, _ in steps)
        raise ConfigError("CORE-059", step=", ".join(sorted(unknown)), steps=known)
    chosen = [(s, c) for s, c in steps if not only or s.step in set(only)]
    return [
        execute(project, table[s.verb], config, s.step, consumers, fresh) for s, config in chosen
    ]


def execute(
    project: Project,
    operation: Operation,
    config: Config,
    step: str,
    consumers: Sequence[events.Emit] = (),
    fresh: bool = False,
) -> Done:
    """Execute one operation as a recorded run, or reuse the run that already did just this.

    A run with the same fingerprint that was killed or stopped is continued in its own folder.

    Raises:
        LLMwrightError: Whatever the operation found wrong; the run is recorded as failed.
    """
    started = time.monotonic()
    inputs = resolve_inputs(project, config)
    fingerprint = fingerprint_of(project, operation, config, inputs)
    earlier = project.index.runs(fingerprint=fingerprint)
    if operation.makes and not fresh:
        for row in earlier:
            artifact = _reusable(project, row)
            if artifact is not None:
                project.index.use_run(row.id)
                for consumer in consumers:
                    consumer(events.RunStarted(row.id, operation.verb, step))
                    consumer(events.RunFinished(0.0, artifact.id, reused=True))
                return Done(step, artifact, row.id, True, time.monotonic() - started)
    row, resumed = _begin(operation, config, step, fingerprint, [] if fresh else earlier)
    project.index.save_run(row, {name: artifact.id for name, artifact in inputs.items()})
    made = _perform(project, operation, config, inputs, row, consumers, resumed)
    return Done(step, made, row.id, False, time.monotonic() - started)


def _perform(
    project: Project,
    operation: Operation,
    config: Config,
    inputs: dict[str, Artifact],
    row: RunRow,
    consumers: Sequence[events.Emit],
    resumed: bool,
) -> Artifact | None:
    folder = project.home / "runs" / row.id
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        log = events.EventFile(folder / "events.jsonl")
    origin = {
        "run": row.id,
        "operation": row.operation,
        "config": row.config,
        "versions": row.versions,
        "inputs": {name: artifact.id for name, artifact in inputs.items()},
    }
    run = Run(row.id, folder, project.root, project.store, [log, *consumers], origin, resumed)
    started = time.monotonic()
    run.emit(events.RunStarted(row.id, row.operation, row.step))
    try:
        with interrupt_on_terminate(), files.disk_errors(project.home):
            made = operation.load()(config, inputs, run)
    except BaseException as error:
        _record_failure(project, row, run, error)
        if isinstance(error, KeyboardInterrupt):
            raise run.stop() from None
        raise
    else:
        project.index.finish_run(row.id, "finished", made.id if made else None)
        run.emit(events.RunFinished(time.monotonic() - started, made.id if made else None))
        return made
    finally:
        log.close()


def _record_failure(project: Project, row: RunRow, run: Run, error: BaseException) -> None:
    known: LLMwrightError | None = None
    if isinstance(error, KeyboardInterrupt):
        known = run.stop()
    elif isinstance(error, LLMwrightError):
        known = error
    code = known.code if known else "CORE-099"
    message = known.message if known else f"{type(error).__name__}: {error}"
    fix = known.fix if known else ""
    status: Status = "stopped" if isinstance(known, StoppedError) else "failed"
    # An artifact saved before the failure (the report of a failed gate) stays findable.
    project.index.finish_run(row.id, status, None, {"code": code, "message": message, "fix": fix})
    run.emit(events.RunFailed(code, message, fix))


def _begin(
    operation: Operation, config: Config, step: str, fingerprint: str, earlier: list[RunRow]
) -> tuple[RunRow, bool]:
    for row in earlier:
        if row.status == "running":
            raise ConfigError("CORE-061", run=row.id, pid=row.pid)
    pid = os.getpid()
    now = time.time()
    fresh = RunRow(
        id=f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{step}-{secrets.token_hex(2)}",
        operation=operation.verb,
        step=step,
        status="running",
        fingerprint=fingerprint,
        config=config.model_dump(mode="json"),
        versions=library_versions(),
        pid=pid,
        pid_started=process_started(pid) or now,
        started=now,
        finished=None,
        used=now,
        artifact=None,
        error=None,
    )
    unfinished = [row for row in earlier if row.status in ("lost", "stopped", "failed")]
    if unfinished:
        return replace(fresh, id=unfinished[0].id), True
    return fresh, False


def _reusable(project: Project, row: RunRow) -> Artifact | None:
    if row.status != "finished" or row.artifact is None:
        return None
    found = [a for a in project.store.list() if a.id == row.artifact]
    return found[0] if found else None


def resolve_inputs(project: Project, config: Config) -> dict[str, Artifact]:
    """Return the artifact behind each reference of a config, by dotted field.

    A reference is a folder, a step's name or the beginning of an id. Without one, the newest
    artifact of that kind that the project made is taken.

    Raises:
        InputError: Nothing there (``CORE-062``) or of another kind (``CORE-063``).
    """
    found: dict[str, Artifact] = {}
    for name, mark, reference in inputs_of(config):
        artifact = find_artifact(project, mark.kind, reference)
        if artifact is None and not mark.optional:
            raise InputError("CORE-062", field=name, kind=mark.kind)
        if artifact is not None:
            found[name] = artifact
    return found


def find_artifact(project: Project, kind: str, reference: str | None) -> Artifact | None:
    """Return the artifact behind one reference, or None when none is given and none was made.

    Raises:
        InputError: It is of another kind (``CORE-063``), or there is no such artifact.
    """
    kinds = kind.split("|")
    if reference is None:
        return _newest(project, kinds)
    artifact = by_reference(project, reference)
    if artifact.kind not in kinds:
        raise InputError("CORE-063", reference=reference, found=artifact.kind, kind=kind)
    return artifact


def by_reference(project: Project, reference: str) -> Artifact:
    """Return the artifact that a folder, a step's name or the beginning of an id stands for.

    Raises:
        InputError: There is none (``CORE-030``, ``CORE-031``).
    """
    folder = Path(reference).expanduser()
    for candidate in (folder, project.root / folder):
        if candidate.is_dir():
            return Artifact.open(candidate)
    for row in project.index.runs(step=reference, status="finished"):
        artifact = _reusable(project, row)
        if artifact is not None:
            return artifact
    return project.store.find(reference)


def _newest(project: Project, kinds: list[str]) -> Artifact | None:
    stored = {artifact.id: artifact for artifact in project.store.list()}
    for row in project.index.runs(status="finished"):
        artifact = stored.get(row.artifact or "")
        if artifact is not None and artifact.kind in kinds:
            return artifact
    return None


def fingerprint_of(
    project: Project, operation: Operation, config: Config, inputs: dict[str, Artifact]
) -> str:
    """Return the hash of everything that decides an operation's result, libraries left out."""
    local = {}
    for path in config.local_files(project.root):
        with_name = path.relative_to(project.root) if path.is_relative_to(project.root) else path
        local[str(with_name)] = files.sha256_file(path)
    return files.sha256_json(
        {
            "operation": operation.verb,
            "version": operation.version,
            "config": config.model_dump(mode="json"),
            "inputs": {name: artifact.id for name, artifact in inputs.items()},
            "files": local,
            "plugins": plugins.project_hashes(project),
        }
    )


def library_versions() -> dict[str, str]:
    """Return the installed versions of the libraries that results may depend on."""
    return {name: metadata.version(name) for name in RECORDED}
