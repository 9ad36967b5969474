"""Train in a process that may take only so much more memory once its first step begins."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import psutil
import torch

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.runs import Run
from llmwright.training import loop
from llmwright.training import train as training
from llmwright.training.config import TrainConfig


def main() -> None:
    root, values, more_bytes = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    inputs = {
        name: Artifact.open(Path(path))
        for name, path in json.loads((root / "inputs.json").read_text()).items()
    }

    def steps(*arguments):
        if more_bytes:
            limit = psutil.Process().memory_info().vms + more_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        try:
            yield from loop.fit(*arguments)
        finally:  # What follows training (saving, probes) starts threads, and needs room for them.
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

    training.fit = steps
    (root / "run").mkdir(parents=True, exist_ok=True)
    run = Run("run", root / "run", root, Store(root / ".llmwright"))
    artifact = training.train(TrainConfig.model_validate(values), inputs, run)
    sys.stdout.write(f"{artifact.path}\n")


if __name__ == "__main__":
    main()
