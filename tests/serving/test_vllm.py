"""The engine vllm with a server of ours in vLLM's place: started, asked by token ids, stopped.

vLLM itself needs a GPU; what stands in for it speaks the same protocol and runs the same model.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import InputError, ResourceError
from llmwright.core.events import Event, Progress
from llmwright.core.machine import toolchain
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import compare
from llmwright.inference.proof.probes import Probes
from llmwright.inference.remote.vllm import VllmEngine
from llmwright.inference.writing.generation import write_all
from llmwright.inference.writing.sampling import Settings
from llmwright.serving.served.model import ServedModel

# A package of this name that takes vLLM's options, and in its requests what only vLLM knows.
STAND_IN = '''
import argparse, os, sys
from pathlib import Path

options = argparse.ArgumentParser()
for name in ("model", "served-model-name", "host", "port", "dtype", "generation-config"):
    options.add_argument(f"--{name}", required=True)
given = options.parse_args()
assert os.environ["VLLM_NO_USAGE_STATS"] == os.environ["DO_NOT_TRACK"] == "1"
if "broken" in given.model:
    sys.exit("ValueError: no such architecture")

import uvicorn
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse
from llmwright.inference.predictor import Predictor
from llmwright.serving.app import create_app
from llmwright.serving.bodies import requests
from llmwright.serving.config import ServeConfig
from llmwright.serving.served.model import ServedModel

class Beyond(requests.CompletionBody):
    """What vLLM also takes."""
    stop_token_ids: list[int] = []
    ignore_eos: bool = False
    skip_special_tokens: bool = True

from llmwright.serving.routes import completions
completions.completions.__annotations__["body"] = Beyond
route = next(r for r in completions.router.routes if r.path == "/v1/completions")
route.__init__(route.path, route.endpoint, methods=route.methods, responses=route.responses)

model = ServedModel(Predictor.open(given.model), given.served_model_name)
app = create_app(model, ServeConfig(access_log=False))

@app.get("/health")
def health():
    return {}

uvicorn.run(app, host=given.host, port=int(given.port), log_level="warning")
'''


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the interpreter of the tests the one that has vLLM."""
    package = tmp_path / "packages" / "vllm"
    (package / "entrypoints" / "openai").mkdir(parents=True)
    (package / "entrypoints" / "openai" / "api_server.py").write_text(STAND_IN)
    about = tmp_path / "packages" / "vllm-0.33.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n")
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'packages'}{os.pathsep}{known}")
    monkeypatch.setenv("LLMWRIGHT_VLLM_PYTHON", sys.executable)


@pytest.fixture
def said() -> list[Event]:
    return []


@pytest.fixture
def here(
    python: None, artifacts: Callable[[str], Artifact], said: list[Event]
) -> Iterator[Predictor]:
    made = Predictor.open(artifacts("talk").path, "vllm", said.append)
    yield made
    made.close()


@pytest.mark.slow
def test_texts_scores_and_stop_strings_are_the_models(
    here: Predictor, models: Callable[[str], ServedModel], said: list[Event]
) -> None:
    there = models("talk").predictor
    assert any(isinstance(event, Progress) and "vllm" in event.stage for event in said)
    assert here.choice.startswith("Engine: vllm, bf16")
    rows = [there.read(text) for text in ("good", "a", "sun")]
    for options in ({}, {"temperature": 1.0, "seed": 3}):
        alone = [next(there.predict([row], max_new_tokens=9, **options)) for row in rows]
        found = [next(here.predict([row], max_new_tokens=9, **options)) for row in rows]
        assert found == alone
    assert list(here.predict(rows, max_new_tokens=9)) == list(there.predict(rows, max_new_tokens=9))
    deltas = [
        list(p.write(p.encode(rows[0]), num_scores=2, max_new_tokens=4)) for p in (here, there)
    ]
    scores = [[s for d in each for s in d.scores or ()] for each in deltas]
    assert [s.token_id for s in scores[0]] == [s.token_id for s in scores[1]]
    assert [s.log_prob for s in scores[0]] == pytest.approx([s.log_prob for s in scores[1]])
    whole = next(there.predict([rows[0]], max_new_tokens=9))["text"]
    cut = next(here.predict([rows[0]], max_new_tokens=9, stop=(whole[2:4],)))["text"]
    assert cut == whole[: whole.index(whole[2:4])]
    prompt = here.encode(rows[0]).input_ids_T
    settings = [Settings(4, stop_token_ids=frozenset(here.contract.stop_token_ids))]
    one, other = (write_all(p.engine, [prompt], settings)[0] for p in (here, there))
    assert (one.token_ids, one.finish_reason) == (other.token_ids, other.finish_reason)
    probes = Probes.open(here.folder)
    table = compare(here, probes)
    assert table.passed
    assert table.num_probes == len(probes.probes)
    assert table.value("log_prob_difference") < 1e-4
    probe = probes.probes[0]
    changed = replace(probe, token_ids_U=(probe.token_ids_U + 1) % 20)
    assert not compare(here, replace(probes, probes=[changed])).passed
    with pytest.raises(InputError, match="INFER-053"):
        list(here.score([{"messages": []}]))


@pytest.mark.slow
def test_it_ends_with_us_and_says_when_it_is_gone(here: Predictor) -> None:
    engine = here.engine
    assert isinstance(engine, VllmEngine)
    watcher = psutil.Process(engine._process._process.pid)
    (server,) = watcher.children()
    assert [c.laddr.ip for c in server.net_connections() if c.status == "LISTEN"] == ["127.0.0.1"]
    server.terminate()
    server.wait(20)
    with pytest.raises(ResourceError, match="INFER-057"):
        list(here.predict([here.read("a")]))
    here.close()
    here.close()
    assert not watcher.is_running() or watcher.status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_closing_our_end_ends_the_server(here: Predictor) -> None:
    engine = here.engine
    assert isinstance(engine, VllmEngine)
    (server,) = psutil.Process(engine._process._process.pid).children()
    # What the system does for a process that was killed.
    assert engine._process._process.stdin is not None
    engine._process._process.stdin.close()
    until = time.monotonic() + 20
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_what_does_not_start_says_why(
    python: None, artifacts: Callable[[str], Artifact], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="INFER-056"):
        Predictor.open(artifacts("intents").path, "vllm")
    broken = shutil.copytree(artifacts("talk").path, tmp_path / "broken")
    with pytest.raises(ResourceError, match=r"INFER-057.*no such architecture"):
        Predictor.open(broken, "vllm")


def test_without_a_gpu_nothing_is_installed(
    artifacts: Callable[[str], Artifact], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from llmwright.inference.remote.vllm import TOOLCHAIN

    if not TOOLCHAIN.needs():
        pytest.skip("a GPU is here")
    monkeypatch.setenv("LLMWRIGHT_TOOLCHAINS", str(tmp_path / "tools"))
    with pytest.raises(ResourceError, match=r"CORE-132.*NVIDIA"):
        Predictor.open(artifacts("talk").path, "vllm")
    assert not toolchain.home().exists()
    assert Predictor.open(artifacts("talk").path).engine.name != "vllm"
