"""Run every shipped recipe in full and print its figures: `python benchmarks/recipes.py [NAME]`.

Claims: weather exact match >= 0.90 on held-out phrases; intents accuracy >= 0.88 in <= 180 s of
training; shakespeare loss <= 1.62 in <= 180 s. The gates of the project files hold them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import machine

from llmwright.recipes import shipped


def run(name: str, folder: Path) -> None:
    shipped.copy(shipped.find(name), folder)
    command = [sys.executable, "-m", "llmwright.cli", "run", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: FAILED\n{done.stdout}{done.stderr}")
        return
    for step in json.loads(done.stdout)["steps"]:
        facts = step["artifact"]["metadata"]
        metrics = " ".join(f"{k}={v:.4f}" for k, v in facts.get("metrics", {}).items() if v)
        print(f"{name:14} {step['step']:20} {step['seconds']:7.1f} s  {metrics}")


def main() -> None:
    print(machine())
    for name in sys.argv[1:] or sorted(shipped.recipes()):
        with tempfile.TemporaryDirectory() as folder:
            run(name, Path(folder))


if __name__ == "__main__":
    main()
