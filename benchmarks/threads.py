"""What waiting threads cost: `python benchmarks/threads.py [RUNS]`.

Claim: with the short spinning that `import llmwright` asks of OpenMP (unless the user chose), the
same training is as quick on a quiet machine and much quicker beside other busy programs. The
recipe `intents` trains 150 steps, in turn with libgomp's own default and with ours; then again
with one busy process per core beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import machine, spread

from llmwright.core.hardware import num_cores
from llmwright.recipes import shipped

# What libgomp does when nothing is set: it spins for some milliseconds.
LIBGOMP_DEFAULT = "300000"
STEPS = 150


def seconds(folder: Path, spin: str | None, seed: int) -> float:
    """Return the seconds of training."""
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if spin is not None:
        environment["GOMP_SPINCOUNT"] = spin
    words = [f"train.max_steps={STEPS}", f"train.seed={seed}"]
    only = ["--only", "prepare", "--only", "tokenize", "--only", "train"]
    command = [sys.executable, "-m", "llmwright.cli", "run", *only, "--json", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    steps = json.loads(done.stdout)["steps"]
    return next(float(step["seconds"]) for step in steps if step["step"] == "train")


def compare(folder: Path, runs: int, first_seed: int) -> None:
    theirs, ours = [], []
    for run in range(runs):
        theirs.append(seconds(folder, LIBGOMP_DEFAULT, first_seed + 2 * run))
        ours.append(seconds(folder, None, first_seed + 2 * run + 1))
    print(f"  libgomp's default {spread(theirs)} s, ours {spread(ours)} s")
    print(f"  ratio {spread([a / b for a, b in zip(theirs, ours, strict=True)])}")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shipped.copy(shipped.find("intents"), folder)
        seconds(folder, None, 0)
        print("alone:")
        compare(folder, runs, 100)
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num_cores())
        ]
        try:
            print(f"beside {len(busy)} busy processes:")
            compare(folder, runs, 200)
        finally:
            for process in busy:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
