"""Train in a process of its own, which the test kills; writes a line after each step."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import StoppedError
from llmwright.core.events import EventFile
from llmwright.core.runs import Run
from llmwright.training import loop
from llmwright.training import train as training
from llmwright.training.config import TrainConfig


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main() -> None:
    root, values = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    inputs = {
        name: Artifact.open(Path(path))
        for name, path in json.loads((root / "inputs.json").read_text()).items()
    }

    def steps(*arguments):
        for result in loop.fit(*arguments):
            say(result.step)
            yield result

    training.fit = steps
    events = EventFile(root / "run" / "events.jsonl")
    run = Run("run", root / "run", root, Store(root / ".llmwright"), [events])
    try:
        artifact = training.train(TrainConfig.model_validate(values), inputs, run)
        say("done", artifact.path)
    except StoppedError as error:
        say("stopped", error.code)


if __name__ == "__main__":
    main()
