"""Configuration of the operation `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from llmwright.core.config import Config, Input


class VerifyConfig(Config):
    """Run a model's recorded probes on a checkpoint, an export or an address."""

    target: str | None = None
    """What is to be checked: a folder, an artifact's id, a step's name, or the address of a server
    (`http://localhost:8000`). The project's newest model or export when not given."""
    model: Annotated[str | None, Input("model|export", optional=True)] = None
    """Whose probes are run when the target is an address; an id, a step's name or a folder. A model
    or export brings its own probes."""
    engine: str = "auto"
    """What runs a target on this machine: `torch`, `onnx`, `llamacpp`, `vllm`, or `auto`, which
    takes the one its files are for."""
    allow_pickle: bool = False
    """Read weights in pickle format (`pytorch_model.bin`) too, tensors only. Reading a pickle could
    run code before torch refused to; safetensors cannot, so allow it only for files you trust."""
    served_model: str | None = None
    """Name of the model to ask a server for; the first it lists when not given."""
    api_key_variable: str = "LLMWRIGHT_API_KEY"
    """Environment variable that holds the server's key; a key in a project file would be kept for
    ever."""
    tolerance: float | None = Field(None, gt=0)
    """Largest difference of a logit or a log-probability that is accepted, times the largest logit
    where that is above 1. Not given: 1e-4 for float32 files, 1e-3 for a server."""
    min_agreement: float | None = Field(None, ge=0, le=1)
    """Share of labels and of tokens that must agree; 1 when not given, which fits float32."""
    timeout_seconds: float = Field(60.0, gt=0)
    """Time after which no further probe is begun, once 4 of them were run."""

    def local_files(self, root: Path) -> list[Path]:
        """Return the files of a target that is a folder, for the fingerprint."""
        folder = root / Path(self.target or "").expanduser()
        if not self.target or not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if path.is_file())
