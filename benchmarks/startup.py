"""How long the command line and the package take to start: `python benchmarks/startup.py`.

Claims: `llmwright --help` at most 0.4 s, `import llmwright` at most 0.2 s, neither imports torch.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from measure import machine, spread, timed

RUNS = 11
PYTHON = sys.executable
COMMANDS = {
    "llmwright --help": [str(Path(PYTHON).with_name("llmwright")), "--help"],
    "llmwright train --help": [str(Path(PYTHON).with_name("llmwright")), "train", "--help"],
    "import llmwright": [PYTHON, "-c", "import llmwright"],
    "python alone": [PYTHON, "-c", "pass"],
    "import transformers (for scale)": [PYTHON, "-c", "import transformers, torch"],
}


def imports_torch(code: str) -> bool:
    check = f"import sys; {code}; print('torch' in sys.modules)"
    done = subprocess.run([PYTHON, "-c", check], capture_output=True, text=True, check=True)
    return done.stdout.strip().endswith("True")


def main() -> None:
    print(machine())
    for name, command in COMMANDS.items():
        timed(command)
        runs = [timed(command) for _ in range(RUNS if "transformers" not in name else 3)]
        wall = spread([run.wall_seconds for run in runs])
        cpu = spread([run.cpu_seconds for run in runs])
        print(f"{name:34} wall {wall} s   cpu {cpu} s")
    for code in ("import llmwright", "from llmwright.cli.main import invoke; invoke(['--help'])"):
        print(f"torch imported by `{code}`: {imports_torch(code)}")


if __name__ == "__main__":
    main()
