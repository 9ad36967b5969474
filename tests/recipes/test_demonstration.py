"""The demo asks its own server, says what happened, and goes on where it was."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from llmwright.core import pipeline
from llmwright.core.errors import CheckError, ConfigError
from llmwright.core.events import Event, Notice
from llmwright.recipes import demonstration, shipped


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers one text, and refuses all others as a server with a key does."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = 200 if body == {"text": "sun"} else 401
        self.send_response(status)
        self.end_headers()
        said = {"label": "fine"} if status == 200 else {"error": {"message": "a key is needed"}}
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_the_proxies_of_the_machine_are_not_asked(
    address: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert demonstration.ask(address, {"text": "sun"}) == {"label": "fine"}


def test_a_refusal_is_no_reply(address: str) -> None:
    with pytest.raises(CheckError, match="401.*a key is needed") as caught:
        demonstration.ask(address, {"text": "rain"})
    assert caught.value.code == "RECIPE-006"


def test_the_shown_request_survives_a_shell() -> None:
    words = shlex.split(demonstration._curl({"text": 'it\'s "$HOME" `x`', "n": 1}))
    assert words[:3] == ["curl", "-X", "POST"]
    assert words[3:7] == ["-F", 'text=it\'s "$HOME" `x`', "-F", "n=1"]
    assert words[7] == "http://127.0.0.1:8000/generate"


def test_an_interrupted_demo_goes_on_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, seen = shipped.find("weather"), []

    def stop(*_: object) -> None:
        seen.append("ran")
        raise KeyboardInterrupt

    said: list[Event] = []
    monkeypatch.setattr(pipeline, "run_project", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            demonstration.run(recipe, tmp_path / "demo", [said.append])
    assert seen == ["ran", "ran"]
    assert isinstance(said[0], Notice)
    assert str(tmp_path / "demo") in said[0].text
    with pytest.raises(ConfigError) as caught:
        demonstration.run(shipped.find("intents"), tmp_path / "demo")
    assert caught.value.code == "RECIPE-001"


SERVING = """
import sys
from llmwright.core.runs import interrupt_on_terminate
from llmwright.recipes import demonstration
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
popen = demonstration.subprocess.Popen
demonstration.subprocess.Popen = lambda words, **more: popen(sleeper, **more)
with interrupt_on_terminate(), demonstration.serving(demonstration.Path("."), "x"):
    pass
"""


def test_a_server_does_not_outlive_its_demo() -> None:
    demo = subprocess.Popen([sys.executable, "-c", SERVING], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (servers := psutil.Process(demo.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(demo.pid, signal.SIGTERM)
    demo.wait(timeout=30)
    assert not psutil.wait_procs(servers, timeout=5)[1]
