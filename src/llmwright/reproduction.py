"""``reproduce``: run again what a lock says, compare what comes out, keep a report.

Any operation that makes an artifact can be reproduced. Equal means equal bit by bit; of trained
models it is also said how far weights, losses, metrics and probes are apart, and a tolerance for
that may be given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llmwright.core import events, files, layers, pipeline
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Config, form_at, parse
from llmwright.core.errors import ConfigError, InputError, LLMwrightError, closest
from llmwright.core.index import RunRow, run_folder
from llmwright.core.locale import text
from llmwright.core.operation import Finding, Operation
from llmwright.core.origin import lock as locks
from llmwright.core.origin.lock import Lock
from llmwright.core.project import Project
from llmwright.core.runs import Run
from llmwright.operations import OPERATIONS

VERB = "reproduce"
REPORT_FILE = "reproduction.json"


@dataclass(frozen=True)
class Again:
    """What is to be done again.

    Attributes:
        lock: Says so.
        operation: Does it.
        config: As it was.
        inputs: The very artifacts that were read.
        untouched: Whether nobody changed the lock since it was written.
    """

    lock: Lock
    operation: Operation
    config: Config
    inputs: dict[str, Artifact]
    untouched: bool


def reproduce(
    project: Project,
    reference: str,
    tolerance: float = 0.0,
    consumers: Sequence[events.Emit] = (),
) -> Artifact:
    """Return the report of a run that was done again; its metadata say whether it ``passed``.

    Args:
        project: Has the inputs.
        reference: A run, a step, an artifact or its folder, or a lock file.
        tolerance: Largest difference of a weight, loss, metric or output of a probe that still
            counts as the same; 0 asks for equal files.
        consumers: Receive the events.

    Raises:
        ConfigError: The reference stands for nothing (``CORE-123``).
        InputError: The lock cannot be used (``CORE-120``), or what was read then is missing or
            has changed (``CORE-121``, ``CORE-122``).
    """
    lock, untouched = find_lock(project, reference)
    again = prepare(project, lock, untouched)
    asked = {"reference": lock["run"], "tolerance": tolerance}
    fingerprint = files.sha256_json([VERB, lock, asked, pipeline.library_versions()])
    inputs = {name: artifact.id for name, artifact in again.inputs.items()}
    row, resumed = project.index.begin_run(
        pipeline.new_row(VERB, VERB, asked, fingerprint), inputs, resume=True
    )
    outer = pipeline.run_of(project, row, consumers, {}, resumed)
    report = pipeline.recorded(
        project, row, outer, lambda: _do_again(project, again, row, outer, tolerance)
    )
    assert report is not None
    return report


def _do_again(project: Project, again: Again, row: RunRow, run: Run, tolerance: float) -> Artifact:
    """Do the work, compare, and return the report."""
    lock, operation = again.lock, again.operation
    local = pipeline.local_hashes(project, again.config)
    now = locks.of_run(project, operation, again.config, again.inputs, row, local)
    # What is made is the operation's own: its manifest says nothing of reproducing.
    now["step"] = lock.get("step", operation.verb)
    changes = [f"{name}: {then} → {here}" for name, then, here in locks.differences(lock, now)]
    if not again.untouched:
        run.notice(text("core.lock_touched"), "warning")
    if changes:
        run.notice(text("core.lock_differs", changes="; ".join(changes)), "warning")
    locks.write(run.folder, now)
    inner = pipeline.run_of(project, row, [run.emit], now, run.resumed)
    made = operation.load()(again.config, again.inputs, inner)
    assert made is not None, f"{operation.verb} makes nothing"
    body = report_body(again, made, compare(project, again, made), tolerance, changes)
    with run.draft("report") as draft:
        files.write_json(draft.path / REPORT_FILE, body)
        draft.metadata.update({"passed": body["passed"], "reproduction": body})
        draft.origin.update(
            {
                "run": row.id,
                "operation": VERB,
                "config": row.config,
                "versions": row.versions,
                "inputs": {"expected": body["expected"], "made": made.id},
            }
        )
    assert draft.artifact is not None
    return draft.artifact


def find_lock(project: Project, reference: str) -> tuple[Lock, bool]:
    """Return the lock that a reference stands for, and whether it is as it was written.

    Raises:
        ConfigError: Nothing has this name (``CORE-123``).
        InputError: There is no lock, or it cannot be read (``CORE-120``).
    """
    for path in (Path(reference), project.root / reference):
        if path.is_file():
            return locks.read(path)
    rows = project.index.runs()
    known = [row for row in rows if row.id == reference]
    known = known or [row for row in rows if row.id.startswith(reference)]
    if len(known) == 1:
        return locks.read(run_folder(project.home, known[0].id) / locks.LOCK_FILE)
    try:
        return locks.of_artifact(pipeline.by_reference(project, reference)), True
    except ConfigError as error:
        names = [name for row in rows for name in (row.id, row.step)]
        hint = closest(reference, dict.fromkeys(names))
        raise ConfigError("CORE-123", reference=reference, hint=hint) from error


def prepare(project: Project, lock: Lock, untouched: bool) -> Again:
    """Return what a lock says, with all that it needs at hand.

    Raises:
        InputError: The lock names no operation (``CORE-120``), the run came to no result
            (``CORE-124``), an input is missing (``CORE-121``), or a file is missing or has changed
            (``CORE-122``).
    """
    operation = OPERATIONS.get(str(lock["operation"]))
    if operation is None:
        raise InputError("CORE-120", path=lock["run"], reason=str(lock["operation"]))
    if not lock.get("result"):
        raise InputError("CORE-124", run=lock["run"])
    values = with_paths(project, lock, operation.config_class())
    config = parse(operation.config_class(), values, operation.verb)
    inputs = {
        field: found
        for field, identity in lock["inputs"].items()
        if (found := input_of(project, values, field, identity)) is not None
    }
    missing = {field: i for field, i in lock["inputs"].items() if field not in inputs}
    if missing:
        named = ", ".join(f"{field} {identity}" for field, identity in missing.items())
        raise InputError("CORE-121", inputs=named)
    local = pipeline.local_hashes(project, config)
    present = set(local.values())
    changed = [file["path"] for file in lock.get("files", []) if file["sha256"] not in present]
    if changed:
        raise InputError("CORE-122", files=", ".join(changed))
    return Again(lock, operation, config, inputs, untouched)


def with_paths(project: Project, lock: Lock, cls: type[Config]) -> dict[str, Any]:
    """Return a lock's settings; paths outside the project, which it has not, from the index.

    Raises:
        InputError: The index does not know them either (``CORE-122``).
    """
    known = _recorded(project, lock)
    hidden = f"{locks.OUTSIDE}/"
    values: dict[str, Any] = lock["config"]
    for key, value in layers.flat(values).items():
        # A list is a leaf; what lies in it may be a mapping with paths of its own.
        if any(one.startswith(hidden) for one in _texts(value)):
            if key not in known and (not isinstance(value, list) or _decides(cls, lock, key)):
                raise InputError("CORE-122", files=f"{key}: {value}")
            # Such as trackers of another machine, which change nothing of the result.
            found = known.get(key, [])
            values = layers.merge(values, layers.nested(key, found), partial(form_at, cls))
    return values


def _decides(cls: type[Config], lock: Lock, key: str) -> bool:
    """Say whether a setting of a lock decides the result."""
    config = parse(cls, lock["config"], str(lock["operation"]))
    return key in layers.flat(config.deciding())


def _recorded(project: Project, lock: Lock) -> dict[str, Any]:
    """Return what the index knows of the settings in a lock, by dotted key."""
    row = next((row for row in project.index.runs() if row.id == lock.get("run")), None)
    if row is None:
        return {}
    # A part of a run, as a training of a search, has its settings below its own name.
    verb = lock["operation"]
    return layers.flat(row.config if row.operation == verb else row.config.get(verb, {}))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def input_of(
    project: Project, values: Mapping[str, Any], field: str, identity: str
) -> Artifact | None:
    """Return an input by its id: from the store, or the folder that the settings name."""
    found = project.store.get(identity)
    reference = layers.flat(values).get(field)
    if found is None and isinstance(reference, str):
        try:
            named = pipeline.by_reference(project, reference)
        except LLMwrightError:
            return None
        found = named if named.id == identity else None
    return found


def compare(project: Project, again: Again, made: Artifact) -> list[Finding]:
    """Return what was compared: every file, and of what is still there how far it is apart."""
    then: dict[str, str] = again.lock["result"]["files"]
    now = locks.result_of(made)["files"]
    different = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    same = len(now) - len([name for name in different if name in now])
    found = [Finding("files", f"{len(then)}", f"{same}", None, not different)]
    recorded = project.store.folder(again.lock["result"]["artifact"])
    function = again.operation.load_compare()
    if recorded is not None and function is not None:
        found += function(recorded, made.path)
    return found


def report_body(
    again: Again,
    made: Artifact,
    findings: Sequence[Finding],
    tolerance: float,
    changes: Sequence[str],
) -> dict[str, Any]:
    """Return the report: what was done again, what came out, and whether it is the same."""
    expected = again.lock["result"]["artifact"]
    compared = [finding for finding in findings if finding.name != "files"]
    near = bool(compared) and all(_within(finding, tolerance) for finding in compared)
    return {
        "run": again.lock["run"],
        "operation": again.operation.verb,
        "expected": expected,
        "made": made.id,
        "tolerance": tolerance,
        "passed": expected == made.id or (tolerance > 0 and near),
        "equal": expected == made.id,
        "lock_untouched": again.untouched,
        "changes": list(changes),
        "findings": [asdict(f) | {"within": _within(f, tolerance)} for f in findings],
    }


def _within(finding: Finding, tolerance: float) -> bool:
    """Say whether a finding is no farther apart than allowed; texts follow from outputs."""
    if finding.equal or finding.name == "answers":
        return True
    return finding.difference is not None and finding.difference <= tolerance
