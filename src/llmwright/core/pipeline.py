"""Executing operations: resolve inputs, skip what is unchanged, record what happened.

The pipeline receives the table of operations as an argument; it knows none of them by name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from llmwright.core import events, files, plugins
from llmwright.core.artifacts import HOLDERS, MANIFEST, Artifact
from llmwright.core.config import Config, inputs_of, parse
from llmwright.core.errors import (
    ConfigError,
    InputError,
    LLMwrightError,
    ResourceError,
    StoppedError,
)
from llmwright.core.index import RunRow, Status, run_folder
from llmwright.core.locale import text
from llmwright.core.operation import Operation, Table
from llmwright.core.origin import earlier, lineage
from llmwright.core.origin import lock as locks
from llmwright.core.origin.elsewhere import find_elsewhere
from llmwright.core.project import Project, Section
from llmwright.core.registry import installed_plugins
from llmwright.core.runs import Run, discard_checkpoints, interrupt_on_terminate

RECORDED = (
    "llmwright",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "numpy",
    "polars",
    "onnx",
    "onnxruntime",
    "optuna",
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
    return [
        (
            section,
            parse(
                table[section.verb].config_class(),
                section.values,
                section.where,
                section.located(project.lines),
                also=table[section.verb].beside,
            ),
        )
        for section in project.sections(table)
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
    found = configs(project, table)
    bases = {section.base.step for section, _ in found if section.base}
    steps = [(s, c) for s, c in found if table[s.verb].step and s.step not in bases]
    if not steps:
        raise ConfigError("CORE-058", path=project.file or project.root)
    unknown = set(only) - {section.step for section, _ in steps}
    if unknown:
        known = ", ".join(section.step for section, _ in steps)
        raise ConfigError("CORE-059", step=", ".join(sorted(unknown)), steps=known)
    done: list[Done] = []
    for section, config in steps:
        if not only or section.step in set(only):
            operation = table[section.verb]
            done.append(execute(project, operation, config, section.step, consumers, fresh, done))
    return done


def execute(
    project: Project,
    operation: Operation,
    config: Config,
    step: str,
    consumers: Sequence[events.Emit] = (),
    fresh: bool = False,
    before: Sequence[Done] = (),
) -> Done:
    """Execute one operation as a recorded run, or reuse the run that already did just this.

    A run with the same fingerprint that was killed or stopped is continued in its own folder.

    Args:
        project: The project.
        operation: What to execute.
        config: Its settings.
        step: Name of the step, for later references.
        consumers: Who receives the events.
        fresh: Execute even what is unchanged.
        before: Steps of this pass that are done: their artifacts come before all others.

    Raises:
        ConfigError: The same work is being done by another process (``CORE-061``).
        LLMwrightError: Whatever the operation found wrong; the run is recorded as failed.
    """
    started = time.monotonic()
    inputs = resolve_inputs(project, config, before)
    for sentence in _unused(project, config, inputs, step, before):
        for consumer in consumers:
            consumer(events.Notice(sentence))
    local = local_hashes(project, config)
    fingerprint = fingerprint_of(project, operation, config, inputs, local)
    if operation.makes and operation.reuse and not fresh:
        for row in project.index.runs(fingerprint=fingerprint, status="finished"):
            artifact = project.store.get(row.artifact or "")
            if artifact is not None and project.store.is_whole(artifact):
                _announce_reuse(row, artifact, step, consumers)
                project.index.use_run(row.id)
                discard_checkpoints(run_folder(project.home, row.id))
                return Done(step, artifact, row.id, True, time.monotonic() - started)
    row, resumed = project.index.begin_run(
        new_row(operation.verb, step, config.model_dump(mode="json"), fingerprint),
        {name: artifact.id for name, artifact in inputs.items()},
        # A service is never done: several may run, and none goes on where another stopped.
        resume=bool(operation.makes) and not fresh,
    )
    shorter: Path | None = None
    if not fresh:
        same = partial(fingerprint_of, project, operation, inputs=inputs, local=local)
        shorter = earlier.shorter(project, row, config, same)
        said = () if resumed or shorter else earlier.left_behind(project, row, config)
        for sentence in said:
            for consumer in consumers:
                consumer(events.Notice(sentence, "warning"))
    lock = locks.of_run(project, operation, config, inputs, row, local)
    made = _perform(project, operation, config, inputs, lock, row, consumers, resumed, shorter)
    return Done(step, made, row.id, False, time.monotonic() - started)


def _announce_reuse(
    row: RunRow, artifact: Artifact, step: str, consumers: Sequence[events.Emit]
) -> None:
    now = library_versions()
    changed = [f"{n} {v} → {now[n]}" for n, v in row.versions.items() if now.get(n, v) != v]
    said: list[events.Event] = [events.RunStarted(row.id, row.operation, step)]
    if changed:
        said.append(events.Notice(text("core.versions_changed", changes=", ".join(changed))))
    said.append(events.RunFinished(0.0, artifact.id, reused=True))
    for event in said:
        for consumer in consumers:
            consumer(event)


def _perform(
    project: Project,
    operation: Operation,
    config: Config,
    inputs: dict[str, Artifact],
    lock: locks.Lock,
    row: RunRow,
    consumers: Sequence[events.Emit],
    resumed: bool,
    shorter: Path | None,
) -> Artifact | None:
    changes: list[str] = []
    if resumed:
        lock, changes = locks.continued(run_folder(project.home, row.id), lock)
    run = run_of(project, row, consumers, lock, resumed, shorter)

    def work() -> Artifact | None:
        if changes:
            run.notice(text("core.resumed_otherwise", changes="; ".join(changes)), "warning")
        locks.write(run.folder, lock)
        made = operation.load()(config, inputs, run)
        if made is not None:
            locks.write(run.folder, lock | {"result": locks.result_of(made)})
        return made

    return recorded(project, row, run, work)


def run_of(
    project: Project,
    row: RunRow,
    consumers: Sequence[events.Emit],
    origin: locks.Lock,
    resumed: bool,
    shorter: Path | None = None,
) -> Run:
    """Return what an operation is given to work with."""
    folder = run_folder(project.home, row.id)
    return Run(row.id, folder, project.root, project.store, consumers, origin, resumed, shorter)


def recorded(
    project: Project, row: RunRow, run: Run, work: Callable[[], Artifact | None]
) -> Artifact | None:
    """Do the work of a run that has begun, its events kept, and note in the index how it ended.

    Raises:
        LLMwrightError: Whatever the work found wrong; the run is recorded as failed.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(interrupt_on_terminate())
            with files.disk_errors(project.home):
                run.folder.mkdir(parents=True, exist_ok=True)
                run.follow(stack.enter_context(events.EventFile(run.folder / "events.jsonl")))
                run.emit(events.RunStarted(row.id, row.operation, row.step))
                made = work()
                finished = events.RunFinished(time.monotonic() - started, made.id if made else None)
                run.emit(finished)
        except BaseException as error:
            _record_failure(project, row, run, error)
            if isinstance(error, KeyboardInterrupt):
                raise run.stop() from None
            raise
    project.index.finish_run(row.id, "finished", made.id if made else None)
    # Not before: who is killed in between goes on from there.
    discard_checkpoints(run.folder)
    return made


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
    # On a full disk nothing of this can be written; the run then reads as lost, and the error that
    # matters is the first one.
    with contextlib.suppress(ResourceError):
        body = {"code": code, "message": message, "fix": fix}
        project.index.finish_run(row.id, status, None, body)
    with contextlib.suppress(OSError):
        run.emit(events.RunFailed(code, message, fix))


def new_row(verb: str, step: str, values: dict[str, Any], fingerprint: str) -> RunRow:
    """Return the row of a run that begins now."""
    now = time.time()
    return RunRow(
        id=f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{step}-{secrets.token_hex(2)}",
        operation=verb,
        step=step,
        status="running",
        fingerprint=fingerprint,
        config=values,
        versions=library_versions(),
        pid=os.getpid(),
        started=now,
        finished=None,
        used=now,
        artifact=None,
        error=None,
    )


def resolve_inputs(
    project: Project, config: Config, before: Sequence[Done] = ()
) -> dict[str, Artifact]:
    """Return the artifact behind each reference of a config, by dotted field.

    A reference is a folder, a step's name or the beginning of an id. Without one, the newest
    artifact of that kind is taken, unless the config can do without: of the steps ``before``, else
    of all the project made.

    Raises:
        ConfigError: A reference is wrong; see `find_artifact`.
        InputError: There is none, and the config cannot do without (``CORE-062``).
    """
    found: dict[str, Artifact] = {}
    for name, mark, reference in inputs_of(config):
        if reference is None and not config.takes_newest(name):
            continue
        artifact = find_artifact(project, mark.kind, reference, before, mark.elsewhere)
        if artifact is None and not mark.optional:
            raise InputError("CORE-062", field=name, kind=mark.kind.replace("|", " / "))
        if artifact is not None:
            found[name] = artifact
    return found


def _unused(
    project: Project,
    config: Config,
    inputs: dict[str, Artifact],
    step: str,
    before: Sequence[Done],
) -> Iterator[str]:
    """Yield what to say of steps of this pass whose result one might expect to be used."""
    made = {done.artifact.kind: done for done in before if done.artifact}
    for name, mark, reference in inputs_of(config):
        done = made.get(mark.kind)
        if done is None or reference is not None or config.takes_newest(name):
            continue
        # What an input was made with, as a model with its tokenizer, is used.
        used = [i for artifact in inputs.values() for i in lineage.ids(project.store, artifact)]
        if done.artifact and done.artifact.id not in used:
            yield text("core.not_used", made=done.step, step=step, field=name)


def find_artifact(
    project: Project,
    kind: str,
    reference: str | None,
    before: Sequence[Done] = (),
    elsewhere: str = "",
) -> Artifact | None:
    """Return the artifact behind one reference, or None when none is given and none was made.

    Where ``elsewhere`` finds something, what is no artifact is taken as one (`find_elsewhere`).

    Raises:
        ConfigError: It is of another kind (``CORE-063``), or there is none (``CORE-031``).
        InputError: A folder is not one (``CORE-030``).
    """
    kinds = kind.split("|")
    if reference is None:
        return _newest(project, kinds, before)
    try:
        artifact = Artifact.open(folder_of(project, reference, before, kinds))
    except (ConfigError, InputError):
        found = elsewhere and find_elsewhere(elsewhere, reference, project.root, kinds[0])
        if not found:
            raise
        return found
    meant = project.store.meant(artifact, kinds)
    if meant is None:
        wanted = " / ".join(kinds)
        raise ConfigError("CORE-063", reference=reference, found=artifact.kind, kind=wanted)
    return meant


def by_reference(project: Project, reference: str) -> Artifact:
    """Return the artifact that a folder, a step's name or the beginning of an id stands for.

    Raises:
        ConfigError: There is none (``CORE-031``).
        InputError: A folder is not one (``CORE-030``).
        CheckError: Its manifest is damaged (``CORE-033``).
    """
    return Artifact.open(folder_of(project, reference))


def folder_of(
    project: Project, reference: str, before: Sequence[Done] = (), kinds: Sequence[str] = ()
) -> Path:
    """Return the folder of the artifact that a reference stands for, sound or not.

    Args:
        project: The project.
        reference: A folder, a step's name or the beginning of an id.
        before: Steps of this pass that are done.
        kinds: Kinds of artifacts to suggest where there is none; all when empty.

    Raises:
        ConfigError: There is none (``CORE-031``).
        InputError: A folder is not one (``CORE-030``).
    """
    # These two, unlike those of Path, take any text for what it is.
    folder = os.path.expanduser(reference)
    folders = [path for path in (Path(folder), project.root / folder) if os.path.isdir(path)]
    for path in folders:
        if (path / MANIFEST).is_file():
            return path
    for done in before:
        if done.step == reference and done.artifact is not None:
            return done.artifact.path
    for row in project.index.runs(step=reference, status="finished"):
        found = project.store.folder(row.artifact or "")
        if found is not None:
            return found
    if folders:
        raise InputError("CORE-030", path=folders[0])
    return project.store.find(reference, kinds)


def _newest(project: Project, kinds: list[str], before: Sequence[Done]) -> Artifact | None:
    for done in reversed(before):
        meant = project.store.meant(done.artifact, kinds) if done.artifact else None
        if meant is not None:
            return meant
    able = {*kinds, *(holder for holder, held in HOLDERS.items() if held in kinds)}
    for row in project.index.runs(status="finished"):
        folder = project.store.folder(row.artifact or "")
        if folder is not None and folder.parent.name in able:
            meant = project.store.meant(Artifact.open(folder), kinds)
            if meant is not None:
                return meant
    return None


def local_hashes(project: Project, config: Config) -> dict[str, str]:
    """Return path, from the project's root, and hash of each local file that a config reads.

    What is not there has an empty hash.
    """
    local = {}
    for path in config.local_files(project.root):
        with_name = path.relative_to(project.root) if path.is_relative_to(project.root) else path
        # What is not there is the operation's to report, with its own words.
        with files.disk_errors(path):
            local[str(with_name)] = files.sha256_file(path) if path.is_file() else ""
    return local


def fingerprint_of(
    project: Project,
    operation: Operation,
    config: Config,
    inputs: dict[str, Artifact],
    local: dict[str, str],
) -> str:
    """Return the hash of everything that decides an operation's result, libraries left out.

    Args:
        project: Its plugins count.
        operation: What would be executed.
        config: Its settings.
        inputs: Artifacts by dotted field.
        local: What `local_hashes` returns.
    """
    decides = {
        "operation": operation.verb,
        "version": operation.version,
        "config": config.deciding(),
        "inputs": {name: artifact.id for name, artifact in inputs.items()},
        "files": local,
        "plugins": plugins.project_hashes(project) | installed_plugins(),
    }
    # The parts of one work make the same, but none of them is another one's doing.
    return files.sha256_json(decides | ({"part": config.part()} if config.part() else {}))


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results may depend on, those installed."""
    found = {}
    for name in RECORDED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
