"""Where else a run's figures are written: experiment trackers that need no account."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from llmwright.core.config import Kind, LocalPath
from llmwright.core.registry import Registry

_SINKS = "llmwright.training.sinks"

# `build(request)` takes a `SinkRequest` and returns a `Sink`, both of `sinks.sink`.
SINKS: Registry[type[SinkKind]] = Registry(
    "sink",
    {
        "tensorboard": f"{_SINKS}.config:TensorBoard",
        "mlflow": f"{_SINKS}.config:MLflow",
        "wandb": f"{_SINKS}.config:WandB",
    },
)


class SinkKind(Kind):
    """A program that shows losses, learning rate, gradient norm, measurements and samples.

    Attributes:
        packages: What must be importable.
        extra: Extra of LLMwright that installs them.
        environment: Variables to set before they are imported: none of them may call home.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    environment: ClassVar[dict[str, str]] = {}


class TensorBoard(SinkKind):
    """TensorBoard event files."""

    implementation: ClassVar[str] = f"{_SINKS}.tensorboard_files:open_tensorboard"
    packages: ClassVar[tuple[str, ...]] = ("tensorboard",)
    extra: ClassVar[str] = "tensorboard"

    kind: Literal["tensorboard"] = "tensorboard"
    """Name of this sink."""
    folder: Annotated[str | None, LocalPath()] = None
    """Folder that gets one folder for each run; the run's own folder when not given. To look at
    several runs together, give it, or show TensorBoard the folder with all runs."""


class MLflow(SinkKind):
    """A local MLflow store: one SQLite file and the artifacts beside it, no server."""

    implementation: ClassVar[str] = f"{_SINKS}.mlflow_store:open_mlflow"
    packages: ClassVar[tuple[str, ...]] = ("mlflow", "sqlalchemy", "alembic")
    extra: ClassVar[str] = "mlflow"
    environment: ClassVar[dict[str, str]] = {"MLFLOW_DISABLE_TELEMETRY": "true"}

    kind: Literal["mlflow"] = "mlflow"
    """Name of this sink."""
    folder: Annotated[str | None, LocalPath()] = None
    """Folder of the store. When not given, `.llmwright/mlflow`, which all runs of the project
    share: MLflow compares runs of one store, and making a store takes some ten seconds."""
    experiment: str | None = None
    """Experiment that the run belongs to; the project folder's name when not given."""


class WandB(SinkKind):
    """Files of Weights & Biases, written offline: nothing is sent until you send it."""

    implementation: ClassVar[str] = f"{_SINKS}.wandb_offline:open_wandb"
    packages: ClassVar[tuple[str, ...]] = ("wandb",)
    extra: ClassVar[str] = "wandb"
    environment: ClassVar[dict[str, str]] = {"WANDB_ERROR_REPORTING": "false"}

    kind: Literal["wandb"] = "wandb"
    """Name of this sink."""
    folder: Annotated[str | None, LocalPath()] = None
    """Folder that gets the files; the run's own folder when not given."""
    project: str | None = None
    """Project that the run belongs to; the project folder's name when not given."""
