"""Every engine does what the suite says, for each kind of model that it runs."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import ResourceError
from llmwright.core.runs import Run
from llmwright.export.config import ExportConfig
from llmwright.export.export import export
from llmwright.inference.engines.config import ENGINES
from llmwright.inference.engines.torch_engine import TorchEngine
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.probes import record_probes
from llmwright.inference.remote.elsewhere import find_model
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import Keys
from llmwright.serving.served.model import ServedModel
from llmwright.serving.server import background
from llmwright.tasks.contract import Contract
from llmwright.testing.engine import check_engine

_spec = importlib.util.spec_from_file_location(
    "tiny_models", Path(__file__).parents[1] / "inference" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
tiny: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

QUICK = {("torch", "decoder"), ("torch", "classifier")}
ONNX = ("classifier", "pairs", "tagger", "decoder", "seq2seq")
PAIRS = [
    *(("torch", name) for name in tiny.MODELS),
    *(("onnx", name) for name in ONNX),
    ("llamacpp", "decoder"),
    ("endpoint", "decoder"),
    ("endpoint", "classifier"),
    ("endpoint", "seq2seq"),
]
WRITES = {"predict", "stream", "seed", "sampling", "log-probabilities", "join", "score"}


class Bench:
    """A project with tiny models and their exports, each made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "run").mkdir()
        self.run = Run("r", root / "run", root, Store(root / ".llmwright"))
        self._made: dict[tuple[str, str], Artifact] = {}

    def model(self, name: str) -> Artifact:
        if ("torch", name) not in self._made:
            folder = tiny.build(name, self.root / name)
            with self.run.draft("model") as draft:
                shutil.copytree(folder, draft.path, dirs_exist_ok=True)
                rows = tiny.rows_for(name)
                record_probes(draft.path, rows, Contract.open(draft.path), "validation", 4)
            assert draft.artifact is not None
            self._made["torch", name] = draft.artifact
        return self._made["torch", name]

    def export(self, name: str, form: dict[str, str]) -> Path:
        if (form["kind"], name) not in self._made:
            made = export(ExportConfig(format=form), {"model": self.model(name)}, self.run)
            self._made[form["kind"], name] = made
        return self._made[form["kind"], name].path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def folder_for(bench: Bench) -> Iterator[Callable[[str, str], Path]]:
    """Return what an engine runs for a model: itself, its export, or what its address becomes."""
    servers: list[Any] = []

    def folder(engine: str, name: str) -> Path:
        if engine == "torch":
            return bench.model(name).path
        if engine == "onnx":
            return bench.export(name, {"kind": "onnx"})
        if engine == "llamacpp":
            return bench.export(name, {"kind": "gguf", "precision": "bf16"})
        served = ServedModel(Predictor.open(bench.model(name).path), name)
        config = ServeConfig(port=0, access_log=False)
        servers.append(background(create_app(served, config, Keys({})), config))
        found = find_model(servers[-1].__enter__(), bench.root)
        assert found is not None
        return found

    yield folder
    for server in servers:
        server.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("engine", "name"),
    [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_registered_engine(folder_for: Callable[[str, str], Path], engine: str, name: str) -> None:
    done = check_engine(engine, folder_for(engine, name), tiny.rows_for(name)[:3])
    writes = name in ("decoder", "seq2seq", "recurrent_decoder", "vae")
    assert done >= (WRITES if writes else {"predict"}) | {"open", "close", "embed", "adapters"}


def test_every_engine_is_in_the_table() -> None:
    # What stands in for vLLM, which needs a GPU, is tested with the server.
    ours = {name for name in ENGINES.names() if ENGINES.origin(name) == "built-in"}
    assert {engine for engine, _ in PAIRS} == ours - {"vllm"}


def test_vllm_says_that_it_cannot_run_here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmwright.inference.remote.vllm import TOOLCHAIN

    monkeypatch.delenv(TOOLCHAIN.variable, raising=False)
    if not TOOLCHAIN.needs():
        pytest.skip("a GPU is here")
    with pytest.raises(ResourceError, match="CORE-132"):
        check_engine("vllm", bench.model("decoder").path)


class Forgetful(TorchEngine):
    """Penalises nothing and leaves the seed out."""

    name = "forgetful"
    automatic = False

    def begin(self, prompts: Any, randoms: Any = None, adapters: Any = None) -> Any:
        state = super().begin(prompts, randoms, adapters)
        state.logits_BV = state.logits_BV[:, ::-1].copy()
        return state


def test_the_suite_finds_other_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES._entries, "forgetful", Forgetful)
    monkeypatch.setitem(ENGINES._origins, "forgetful", "project")
    with pytest.raises(AssertionError, match="probes are answered otherwise"):
        check_engine("forgetful", bench.model("decoder").path)
