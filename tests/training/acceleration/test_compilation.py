from __future__ import annotations

import math

import pytest
import torch

from llmwright.core.errors import ConfigError, ResourceError
from llmwright.core.events import Notice
from llmwright.models.load import load_model
from llmwright.training.acceleration.compilation import choose_compiled, expected_seconds
from llmwright.training.budget import Budget
from llmwright.training.runtimes.runtime import Runtime

# What torch's compiler says to itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]


@pytest.fixture
def pairs(bench):
    rows = [{"input": "red " * n, "target": "sun" * n} for n in range(1, 9)]
    dataset = bench.dataset("text-generation", "pair", train=rows, validation=rows[:2])
    return dataset, bench.tokenizer(["red sun"])


@pytest.fixture
def programs(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    return folder


def said(bench) -> str:
    texts = [event.text for event in bench.events if isinstance(event, Notice)]
    [sentence] = [text for text in texts if "compiled" in text]
    return sentence


def test_a_short_run_is_not_compiled_and_says_why(bench, tiny, pairs) -> None:
    bench.train({"model": tiny(num_layers=2), "max_steps": 1}, *pairs, "short")
    assert "compiling pays from 15 min" in said(bench)


def test_the_expected_time_grows_with_the_run_and_the_shortest_budget_counts(bench) -> None:
    model = torch.nn.Linear(1000, 1000, bias=False)
    model.num_parameters = lambda: 1_000_000
    runtime = Runtime(torch.device("cpu"), 1)
    steps = Budget(1000, None, None, tokens_per_step=2000.0)
    assert expected_seconds(model, runtime, steps) == pytest.approx(6 * 1e6 * 2e6 / 5e10)
    assert expected_seconds(model, runtime, Budget(1000, 2000, None, 2000.0)) < 1
    assert expected_seconds(model, runtime, Budget(None, None, 60.0, 2000.0)) == 60
    assert math.isfinite(expected_seconds(model, runtime, Budget(None, 10, None, 1.0)))


def test_a_long_run_decides_for_it_by_itself(bench, tiny, pairs, programs) -> None:
    made = bench.train({"model": tiny(num_layers=2), "max_steps": 1}, *pairs, "long")
    model, runtime = load_model(made.path), Runtime(torch.device("cpu"), 1)
    weeks = Budget(1_000_000_000, None, None, tokens_per_step=2000.0)
    layers, sentence = choose_compiled("auto", model, runtime, weeks)
    assert layers is not None
    assert "2 layers of the model are compiled" in sentence
    assert str(programs) in sentence
    # Outside of `used` they run as they are.
    assert [layer._compiled_call_impl for layer in model.model.layers] == [None, None]
    with layers.used():
        assert all(layer._compiled_call_impl for layer in model.model.layers)
    assert choose_compiled(False, model, runtime, weeks)[0] is None


def test_what_cannot_be_compiled_is_refused_when_asked_for(bench, tiny, pairs, monkeypatch) -> None:
    recurrent = {"kind": "scratch", "architecture": "recurrent", "hidden_size": 8}
    with pytest.raises(ConfigError, match="TRAIN-180"):
        bench.train({"model": recurrent, "max_steps": 1, "compile": True}, *pairs, "r")
    monkeypatch.setenv("CXX", "no-such-compiler")
    values = {"model": tiny(num_layers=2), "max_steps": 1, "compile": True}
    with pytest.raises(ResourceError, match=r"TRAIN-181.*no-such-compiler"):
        bench.train(values, *pairs, "c")


@pytest.mark.slow
def test_compiled_layers_learn_the_same(bench, tiny, pairs, programs) -> None:
    values = {
        "model": tiny(num_layers=2),
        "max_steps": 6,
        "batch_size": 3,
        "lr": 1e-2,
        "precision": "float32",
    }
    plain = bench.train({**values, "compile": False}, *pairs, "plain")
    compiled = bench.train({**values, "compile": True}, *pairs, "compiled")
    assert any(programs.rglob("*.so"))
    expected = load_model(plain.path).state_dict()
    for name, weight in load_model(compiled.path).state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-3, atol=1e-4)
