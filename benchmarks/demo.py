"""How long `llmwright demo` takes and how much memory: `python benchmarks/demo.py [RUNS]`.

Claims: at most 180 s (goal 120) with export and parity, peak memory at most 3 GB.
Memory is the largest sum over the process and its children, sampled five times a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from measure import machine, spread


def watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """Keep the largest total of unique memory of a process tree in ``peak[0]``."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        for one in [root, *root.children(recursive=True)]:
            try:
                total += one.memory_full_info().uss
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.2)


def run_once() -> tuple[float, int, dict[str, Any]]:
    command = [str(Path(sys.executable).with_name("llmwright")), "demo", "--json"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--folder", folder], stdout=subprocess.PIPE, text=True
        )
        peak = [0]
        watcher = threading.Thread(target=watch, args=(process, peak))
        watcher.start()
        output, _ = process.communicate()
        watcher.join()
        if process.returncode:
            raise SystemExit(f"the demo failed: {output}")
        return time.perf_counter() - started, peak[0], json.loads(output)


def main() -> None:
    runs = [run_once() for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)]
    print(machine())
    print(f"seconds: {spread([seconds for seconds, _, _ in runs])}")
    print(f"peak memory, GB: {spread([peak / 1e9 for _, peak, _ in runs])}")
    print(f"reply: {runs[-1][2]['reply']}")
    for step in runs[-1][2]["steps"]:
        print(f"{step['step']:16} {step['seconds']:7.1f} s")


if __name__ == "__main__":
    main()
