"""Files of Weights & Biases, written without an account or a network."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from llmwright.core.locale import text
from llmwright.training.sinks.config import WandB
from llmwright.training.sinks.sink import Sink, SinkRequest


class WandBSink(Sink):
    """Writes figures, a table of samples for each step, and the settings.

    A file cannot be continued, and a kill loses the end of it. So a resumed run writes a new one
    that begins with what was said before, and the old one goes.

    Args:
        folder: Of the files.
        project: Name of the project.
        request: What it is opened for.
    """

    def __init__(self, folder: Path, project: str, request: SinkRequest) -> None:
        import wandb

        self._table = wandb.Table
        self._samples: dict[int, list[list[str]]] = {}
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
        )
        self._run = wandb.init(
            mode="offline",
            dir=str(folder),
            project=project,
            id=request.run,
            name=request.run,
            config=request.settings,
            settings=settings,
            reinit="create_new",
        )
        # A process started by this one shall have a service of its own, which ends with it.
        os.environ.pop("WANDB_SERVICE", None)
        self.files = Path(self._run.settings.sync_dir)
        for event in request.earlier:
            self(event)

    def figure(self, name: str, value: float, step: int) -> None:
        """Write a figure of a step."""
        self._run.log({name: value}, step=step)

    def sample(self, prompt: str, answer: str, step: int) -> None:
        """Write the answers of a step so far as a table."""
        rows = self._samples.setdefault(step, [])
        rows.append([prompt, answer])
        table = self._table(columns=["prompt", "answer"], data=rows)
        self._run.log({"samples": table}, step=step)

    def close(self, failed: bool) -> None:
        """Write what is left."""
        self._run.finish(exit_code=int(failed))


def open_wandb(kind: WandB, request: SinkRequest) -> Sink:
    """Return a sink that writes offline."""
    folder = request.place(kind.folder, request.folder)
    superseded = re.compile(rf"offline-run-\d+_\d+-{re.escape(request.run)}(-\d+)?")
    for old in (folder / "wandb").glob("offline-run-*"):
        if superseded.fullmatch(old.name):
            shutil.rmtree(old)
    sink = WandBSink(folder, kind.project or request.project, request)
    request.notice(text("training.sink_wandb", folder=shlex.quote(str(sink.files))))
    return sink
