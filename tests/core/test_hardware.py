from __future__ import annotations

import os
from pathlib import Path

import psutil
import pynvml
import pytest
from tiny_table import Python

from llmwright.core import hardware as module
from llmwright.core.hardware import hardware, num_cores


def test_this_machine_makes_sense() -> None:
    found = hardware()
    assert 1 <= found.num_cores <= (os.cpu_count() or 1)
    assert 0 <= found.available_memory_bytes <= found.memory_bytes <= psutil.virtual_memory().total
    assert found.platform


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_affinity_limits_the_cores(python: Python) -> None:
    code = (
        "import os; from llmwright.core.hardware import num_cores\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(num_cores())"
    )
    assert python(code).stdout == "1\n"


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file tree of control groups, this process two levels deep."""
    own = tmp_path / "user" / "job"
    own.mkdir(parents=True)
    (tmp_path / "self").write_text("0::/user/job\n")
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    monkeypatch.setattr(module, "PROCESS_CGROUP", tmp_path / "self")
    return own


def test_a_quota_limits_the_cores(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert num_cores() == 16
    (cgroup / "cpu.max").write_text("max 100000\n")
    assert num_cores() == 16
    (cgroup / "cpu.max").write_text("350000 100000\n")
    assert num_cores() == 3
    (cgroup.parent / "cpu.max").write_text("50000 100000\n")  # the tighter one is above
    assert num_cores() == 1


def test_a_quota_of_version_1_limits_the_cores(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    folder = module.CGROUP / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text("400000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert num_cores() == 4
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert num_cores() == 16


def test_a_limit_on_memory_counts(cgroup: Path) -> None:
    (cgroup.parent / "memory.max").write_text("1000000000\n")
    (cgroup.parent / "memory.current").write_text("400000000\n")
    (cgroup / "memory.max").write_text("max\n")
    found = hardware()
    assert found.memory_bytes == 1_000_000_000
    assert found.available_memory_bytes == 600_000_000


def test_a_gpu_that_cannot_be_asked_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", fail)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    assert hardware().gpus == ()
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", fail)
    assert hardware().gpus == ()
