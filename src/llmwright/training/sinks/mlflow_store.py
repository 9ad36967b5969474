"""A local MLflow store in a SQLite file."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from llmwright.core.locale import text
from llmwright.training.sinks.config import MLflow
from llmwright.training.sinks.sink import Sink, SinkRequest

TAG = "llmwright.run"
# What MLflow takes in names of metrics and parameters, and how long a parameter may be.
_FORBIDDEN = re.compile(r"[^/\w.\- :]")
MAX_PARAM = 6000
_BATCH = 100


def open_mlflow(kind: MLflow, request: SinkRequest) -> Sink:
    """Return a sink that writes to a store of its own, without a server."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    folder = request.place(kind.folder, request.shared / "mlflow")
    uri = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    request.notice(text("training.sink_mlflow", uri=uri))
    return MLflowSink(uri, folder / "artifacts", kind.experiment or request.project, request)


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings with dotted names; what is longer than a parameter may be is left out.

    All of it stands in the artifact ``settings.yaml`` too.
    """
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and all(str(key).isidentifier() for key in value):
            found |= flat(value, f"{prefix}{name}.")
        else:
            written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[f"{prefix}{name}"] = written
    return {name: value for name, value in found.items() if len(value) <= MAX_PARAM}


class MLflowSink(Sink):
    """Writes metrics, samples as text artifacts, and the settings as parameters.

    Args:
        uri: Of the store.
        artifacts: Folder of the artifacts of a new experiment.
        experiment: Its name.
        request: What it is opened for.
    """

    def __init__(self, uri: str, artifacts: Path, experiment: str, request: SinkRequest) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(experiment)
        if known is None:
            place = artifacts.as_uri()
            experiment_id = self._client.create_experiment(experiment, artifact_location=place)
        else:
            experiment_id = known.experiment_id
        found = self._found(experiment_id, request)
        self._run = found or self._begun(experiment_id, request)
        self._resumed = found is not None
        # Steps that are written already: what is done again after a kill is written once.
        self._last: dict[str, int] = {}
        self._samples: dict[int, list[str]] = defaultdict(list)

    def _found(self, experiment: str, request: SinkRequest) -> str | None:
        """Return the run that an earlier process began, open again; None when there is none."""
        runs = self._client.search_runs([experiment], f"tags.`{TAG}` = '{request.run}'")
        if not runs:
            return None
        found = str(runs[0].info.run_id)
        self._client.update_run(found, status="RUNNING")
        return found

    def _begun(self, experiment: str, request: SinkRequest) -> str:
        from mlflow.entities import Param

        begun = self._client.create_run(experiment, run_name=request.run, tags={TAG: request.run})
        identity = str(begun.info.run_id)
        params = [Param(name, value) for name, value in flat(request.settings).items()]
        for start in range(0, len(params), _BATCH):
            self._client.log_batch(identity, params=params[start : start + _BATCH])
        self._client.log_dict(identity, request.settings, "settings.yaml")
        return identity

    def figure(self, name: str, value: float, step: int) -> None:
        """Write a metric, unless the process before wrote this step already."""
        name = _FORBIDDEN.sub("_", name)
        if name not in self._last:
            history = self._client.get_metric_history(self._run, name) if self._resumed else []
            self._last[name] = max((metric.step for metric in history), default=-1)
        if step > self._last[name]:
            self._client.log_metric(self._run, name, value, step=step)

    def sample(self, prompt: str, answer: str, step: int) -> None:
        """Write an answer to the text of its step."""
        self._samples[step].append(f"{prompt}\n→ {answer}\n")
        file = f"samples/step-{step:08d}.txt"
        self._client.log_text(self._run, "\n".join(self._samples[step]), file)

    def close(self, failed: bool) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")
