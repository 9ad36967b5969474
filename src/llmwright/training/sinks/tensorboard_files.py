"""TensorBoard event files."""

from __future__ import annotations

import textwrap
from pathlib import Path

import yaml
from torch.utils.tensorboard import SummaryWriter

from llmwright.core.locale import text
from llmwright.training.sinks.config import TensorBoard
from llmwright.training.sinks.sink import Sink, SinkRequest

# Longest name that a prompt is listed under.
_MAX_NAME = 60


class TensorBoardSink(Sink):
    """Writes scalars, samples and the settings.

    Args:
        folder: Of the event files.
        request: What it is opened for.
    """

    def __init__(self, folder: Path, request: SinkRequest) -> None:
        begun = folder.is_dir() and any(folder.iterdir())
        # What a killed process wrote after its last checkpoint is done again, and shown once.
        self._writer = SummaryWriter(str(folder), purge_step=request.step + 1 if begun else None)
        if not begun:
            written = yaml.safe_dump(request.settings, allow_unicode=True, sort_keys=False)
            self._write("settings", written, 0)

    def figure(self, name: str, value: float, step: int) -> None:
        """Write a scalar, so that a kill loses none: a resumed run writes later steps only."""
        self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def sample(self, prompt: str, answer: str, step: int) -> None:
        """Write an answer under its prompt's name."""
        self._write(f"samples/{prompt[:_MAX_NAME]}", prompt + answer, step)

    def _write(self, name: str, written: str, step: int) -> None:
        # Text is shown as Markdown, in which indented lines stay as they are.
        indented = textwrap.indent(written, "    ", lambda line: True)
        self._writer.add_text(name, indented, step)
        self._writer.flush()

    def close(self, failed: bool) -> None:
        """Close the file."""
        self._writer.close()


def open_tensorboard(kind: TensorBoard, request: SinkRequest) -> Sink:
    """Return a sink whose files lie in a folder of this run."""
    if kind.folder is None:
        folder = request.place(None, request.folder / "tensorboard")
    else:
        folder = request.place(kind.folder, request.folder) / request.run
    shown = folder if kind.folder is None else folder.parent
    request.notice(text("training.sink_tensorboard", folder=shown))
    return TensorBoardSink(folder, request)
