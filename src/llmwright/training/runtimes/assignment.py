"""What a launcher hands to the processes that train, and what they hand back, as files.

Folder of one launch: ``job.json`` (what to do), ``events.jsonl`` (what process 0 says), ``stop``
(the user wants to stop), and for each process ``rank-N.lock`` (it lives), ``rank-N.log`` (its
output) and ``rank-N.json`` (how it ended).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmwright.core import errors, files
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Config
from llmwright.core.errors import LLMwrightError
from llmwright.core.registry import load_object
from llmwright.core.runs import Run

JOB, EVENTS, STOP = "job.json", "events.jsonl", "stop"


@dataclass(frozen=True)
class Assignment:
    """A training that other processes shall do.

    Attributes:
        config: What is wanted.
        inputs: Artifacts by field of the config.
        run: The launcher's; its events and artifacts are the run's own.
        function: ``"module:name"`` of what each process calls with config, inputs and its run; it
            returns the artifact in process 0 and None in the others.
        said: Sentences that the launcher has said already; process 0 comes to the same.
    """

    config: Config
    inputs: Mapping[str, Artifact]
    run: Run
    function: str
    said: Collection[str] = ()

    def write(self, folder: Path) -> None:
        """Write it into the folder of a launch."""
        cls = type(self.config)
        body = {
            "function": self.function,
            "class": f"{cls.__module__}:{cls.__qualname__}",
            "config": self.config.model_dump(mode="json"),
            "inputs": {name: str(artifact.path) for name, artifact in self.inputs.items()},
            "run": self.run.description(),
        }
        files.write_json(folder / JOB, body)

    @classmethod
    def read(cls, folder: Path, rank: int) -> Assignment:
        """Return what `write` wrote, with a run that only process 0 fills with events."""
        body = files.read_json(folder / JOB)
        config = load_object(body["class"]).model_validate(body["config"])
        inputs = {name: Artifact.open(Path(path)) for name, path in body["inputs"].items()}
        run = RankRun.described(body["run"])
        run.stop_file = folder / STOP
        return cls(config, inputs, run, body["function"])


class RankRun(Run):
    """The run as one of its processes sees it: whether to stop is told by the launcher.

    Attributes:
        stop_file: Is there when the user asked to stop.
    """

    stop_file: Path
    catches_signals: ClassVar[bool] = False

    def should_stop(self) -> bool:
        """Say whether the launcher was asked to stop."""
        return self.stop_file.exists()


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        when: Seconds since 1970.
        error: What the user is told; None where it ended well or by a defect.
        artifact: Folder of the model; None where it did not end well.
        reason: The traceback of a defect, else empty.
    """

    when: float
    error: LLMwrightError | None = None
    artifact: Path | None = None
    reason: str = ""


def write_ending(path: Path, outcome: str | BaseException) -> None:
    """Write how a process ended.

    Args:
        path: Its file.
        outcome: Folder of the artifact, or what was raised.
    """
    body: dict[str, Any] = {"when": time.time()}
    if isinstance(outcome, str):
        body["artifact"] = outcome
    elif isinstance(outcome, LLMwrightError):
        body["error"] = {
            "class": type(outcome).__name__,
            "code": outcome.code,
            "where": outcome.where,
            "values": outcome.values,
        }
    else:
        body["reason"] = "".join(traceback.format_exception(outcome))
    files.write_json(path, body)


def read_ending(path: Path) -> Ending | None:
    """Return how a process ended; None where it could not say."""
    if not path.is_file():
        return None
    body = files.read_json(path)
    error = None
    if "error" in body:
        said = body["error"]
        error = getattr(errors, said["class"])(said["code"], where=said["where"], **said["values"])
    artifact = Path(body["artifact"]) if "artifact" in body else None
    return Ending(body["when"], error, artifact, body.get("reason", ""))
