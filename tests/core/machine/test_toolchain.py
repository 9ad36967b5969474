"""Environments of tools: made once, checked before each use, mended where they changed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmwright.core.errors import InputError, ResourceError
from llmwright.core.events import Event, Notice, Progress
from llmwright.core.machine import toolchain as module
from llmwright.core.machine.toolchain import Toolchain, ensure, home, state

TINY = Toolchain("tiny", {"iniconfig": "2.3.0"}, {"TINY_SPIES": "0"})


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMWRIGHT_TOOLCHAINS", str(tmp_path / "tools"))


def ask(environment: module.Environment, code: str) -> str:
    done = subprocess.run(
        [str(environment.python), "-c", code],
        env=dict(environment.variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_an_environment_is_made_once_and_mended_when_it_changed() -> None:
    said: list[Event] = []
    assert state(TINY) is None
    made: list[module.Environment] = []
    # Two at once: one makes it, the other waits for it.
    threads = [
        threading.Thread(target=lambda: made.append(ensure(TINY, said.append))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, other = made
    assert one == other
    assert one.versions == {"iniconfig": "2.3.0"}
    notices = [event.text for event in said if isinstance(event, Notice)]
    assert sum("tiny" in notice and str(home()) in notice for notice in notices) == 1
    assert any(isinstance(event, Progress) for event in said)
    asked = "import iniconfig, os; print(iniconfig.__file__, os.environ['TINY_SPIES'])"
    path, spies = ask(one, asked).split()
    assert path.startswith(str(home()))
    assert spies == "0"
    said.clear()
    assert ensure(TINY, said.append) == one
    assert said == []
    ask(one, "import subprocess, sys; subprocess.run([sys.executable, '-m', 'pip', 'uninstall', "
        "'-qy', 'iniconfig'], check=True)")  # fmt: skip
    assert state(TINY) is None
    assert ensure(TINY, said.append) == one


@pytest.mark.slow
def test_pip_that_fails_is_told_and_nothing_counts_as_made() -> None:
    missing = Toolchain("missing", {"iniconfig": "0.0.0.999"})
    with pytest.raises(ResourceError, match=r"CORE-130.*iniconfig==0\.0\.0\.999"):
        ensure(missing, lambda event: None)
    assert state(missing) is None


def test_what_cannot_run_here_is_not_installed() -> None:
    big = Toolchain("big", {"iniconfig": "2.3.0"}, needs=lambda: "no such card")
    with pytest.raises(ResourceError, match=r"CORE-132.*no such card"):
        ensure(big, lambda event: None)
    assert not home().exists()


def test_a_python_of_the_users_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TINY.variable, sys.executable)
    tool = Toolchain("tiny", {"pytest": "0"}, needs=lambda: "nothing is made")
    assert ensure(tool, lambda event: None).python == Path(sys.executable)
    absent = Toolchain("tiny", {"no-such-distribution": "1"})
    with pytest.raises(InputError, match=r"CORE-131.*LLMWRIGHT_TINY_PYTHON"):
        ensure(absent, lambda event: None)
