from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_table import Python

from llmwright.core import files
from llmwright.core.errors import CheckError, ResourceError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "CORE-020"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "CORE-020"),
        (OSError(errno.EFBIG, "File too large"), "CORE-020"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x.csv"), "CORE-021"),
        (OSError(errno.EROFS, "Read-only file system"), "CORE-021"),
        # what libraries written in Rust and C++ say
        (RuntimeError("I/O error: No space left on device (os error 28)"), "CORE-020"),
        (sqlite3.OperationalError("database or disk is full"), "CORE-020"),
        (
            RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0"),
            "CORE-020",
        ),
    ],
    ids=str,
)
def test_disk_errors_become_clear(error: Exception, code: str) -> None:
    with pytest.raises(ResourceError) as caught, files.disk_errors(Path("/project")):
        raise error
    assert caught.value.code == code
    named = getattr(error, "filename", None) or "/project"
    assert named in caught.value.message


@pytest.mark.parametrize("error", [ValueError("bad"), FileNotFoundError(2, "gone")], ids=str)
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, files.disk_errors(Path("/project")):
        raise error
    assert caught.value is error


def test_our_own_errors_pass_even_when_they_speak_of_disks() -> None:
    error = CheckError("CORE-032", identity="x", path="no space left on device", files="y")
    with pytest.raises(CheckError), files.disk_errors(Path("/project")):
        raise error


def test_a_full_device_is_said(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("this machine has no device that is always full")
    with pytest.raises(ResourceError) as caught, files.disk_errors(tmp_path):
        full.write_text("x")
    assert caught.value.code == "CORE-020"


def test_json_is_written_whole_or_not_at_all(tmp_path: Path, python: Python) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"名": [1, 2]})
    assert files.read_json(path) == {"名": [1, 2]}
    code = """
import resource, sys
from pathlib import Path
from llmwright.core import files
from llmwright.core.errors import ResourceError
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    files.write_json(Path(sys.argv[1]), "x" * 1000)
except ResourceError as error:
    print(error.code)
"""
    assert python(code, path).stdout == "CORE-020\n"
    assert files.read_json(path) == {"名": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_no_artifact_and_the_next_run_goes_on(tiny_disk: Path) -> None:
    from tiny_table import TABLE

    from llmwright.core import pipeline
    from llmwright.core.project import Project

    (tiny_disk / "poem.txt").write_text("line\n" * 1000)
    (tiny_disk / "llmwright.yaml").write_text("gather: {source: poem.txt}\nshape:\n")
    free = os.statvfs(tiny_disk).f_bavail * os.statvfs(tiny_disk).f_frsize
    (tiny_disk / "ballast").write_bytes(b"x" * (free - 16384))

    def project() -> Project:
        return Project.load(tiny_disk / "llmwright.yaml", TABLE)

    with pytest.raises(ResourceError) as caught:
        pipeline.run_project(project(), TABLE)
    assert caught.value.code == "CORE-020"
    stored = project().store.list()
    assert all(artifact.kind == "text" for artifact in stored)
    (tiny_disk / "ballast").unlink()
    done = pipeline.run_project(project(), TABLE)
    assert [one.artifact.kind for one in done if one.artifact] == ["text", "shaped"]
    assert not list((tiny_disk / ".llmwright" / "drafts").iterdir())


def test_a_read_only_project_is_a_clear_error(tiny_disk: Path) -> None:
    from tiny_table import TABLE

    from llmwright.core import pipeline
    from llmwright.core.machine import doctor
    from llmwright.core.project import Project

    (tiny_disk / "poem.txt").write_text("line\n")
    (tiny_disk / "llmwright.yaml").write_text("gather: {source: poem.txt}\n")
    project = Project.load(tiny_disk / "llmwright.yaml", TABLE)
    pipeline.run_project(project, TABLE)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert [row.step for row in project.index.runs()] == ["gather"]  # looking is still possible
    with pytest.raises(ResourceError) as caught:
        pipeline.run_project(project, TABLE, fresh=True)
    assert caught.value.code in ("CORE-021", "CORE-022")
    (finding,) = [f for f in doctor.examine(project) if f.name == "writable"]
    assert finding.level == "error"


def test_json_has_no_numbers_that_json_has_not(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert "".join((tmp_path / "a.json").read_text().split()) == '{"a":null,"b":[null,1.5]}'


def test_a_lock_is_one_holders_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    assert not files.is_held(path)
    held = files.hold(path)
    assert held is not None
    assert files.is_held(path)
    assert files.hold(path, tries=1) is None
    path.unlink()
    other = files.hold(path, tries=1)
    assert other is not None, "the file of that name is another now"
    other.close()
    held.close()
    assert not files.is_held(path)
