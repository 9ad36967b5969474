"""A disk that fills up in any step: one clear error, nothing half-written, the next run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_project import STEPS, known_runs, made, run, start_run, strays, unmade, wait_until

pytestmark = pytest.mark.fault


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("step", STEPS)
def test_disk_full_in_a_step(finished: Path, small_disk: Path, step: str) -> None:
    root = unmade(finished, small_disk / "tiny", step)
    expected = made(finished)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (free - 20_000))
    process = start_run(root)
    said, noise = process.communicate(timeout=240)
    assert process.returncode == 1, said + noise
    error = json.loads(said)["error"]
    assert error["code"] == "CORE-020", error
    assert error["fix"]
    assert "Traceback" not in noise
    left = made(root)
    assert STEPS[step] not in left
    assert {kind: expected[kind] for kind in left} == left
    assert list(strays(root)) == []
    ballast.unlink()
    run(root)
    assert made(root) == expected
    assert list((root / ".llmwright" / "drafts").iterdir()) == []


def checkpoints(root: Path, known: set[str]) -> list[Path]:
    """Return the complete checkpoints of new runs."""
    folders = (root / ".llmwright" / "runs").glob("*/checkpoints/step-*")
    return [f for f in folders if f.parts[-3] not in known and f.suffix != ".tmp"]


def test_disk_full_while_it_trains(finished: Path, small_disk: Path) -> None:
    root, known = unmade(finished, small_disk / "tiny", "train"), known_runs(finished)
    process = start_run(root)
    wait_until(process, lambda: checkpoints(root, known) != [])
    process.send_signal(signal.SIGSTOP)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    process.send_signal(signal.SIGCONT)
    said, noise = process.communicate(timeout=240)
    assert process.returncode == 1, said + noise
    assert json.loads(said)["error"]["code"] == "CORE-020"
    assert "Traceback" not in noise
    assert len(checkpoints(root, known)) == 1
    ballast.unlink()
    run(root)
    assert made(root) == made(finished)
