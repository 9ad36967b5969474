"""Every adapter keeps the contract with every objective, or refuses with a coded error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from llmwright.testing import adapter as suite
from llmwright.training.adapters.config import ADAPTERS, LoraAdapter
from llmwright.training.objectives.config import OBJECTIVES

OPTIONS: dict[str, dict[str, Any]] = {
    "freeze": {"last_layers": 1},
    "lora": {"rank": 4},
    "prompt_tuning": {"num_virtual_tokens": 4},
    "prefix_tuning": {"num_virtual_tokens": 4},
}
DECODERS = {"causal_lm", "dpo", "ipo", "orpo", "simpo", "kto", "distillation"}
QUICK = {("lora", "causal_lm"), ("freeze", "tagging"), ("prefix_tuning", "classification")}


def refusal(adapter: str, objective: str) -> str:
    """What a pair answers that makes no sense, or needs what this machine lacks."""
    if adapter == "qlora" and not torch.cuda.is_available():
        return "TRAIN-106"
    if adapter in ("lora", "qlora") and objective == "vae":
        return "TRAIN-104"
    if adapter in ("prompt_tuning", "prefix_tuning") and objective not in DECODERS:
        return "MODEL-054"
    return ""


PAIRS = [
    pytest.param(a, o, marks=() if (a, o) in QUICK else pytest.mark.slow)
    for a in ADAPTERS.names()
    for o in OBJECTIVES.names()
]


@pytest.fixture(scope="module")
def place() -> Iterator[suite.Bench]:
    with suite.bench() as found:
        yield found


@pytest.mark.parametrize(("adapter", "objective"), PAIRS)
def test_registered_adapter(place: suite.Bench, adapter: str, objective: str) -> None:
    kind = ADAPTERS.get(adapter).model_validate({"kind": adapter, **OPTIONS.get(adapter, {})})
    assert suite.check_pair(place, kind, objective) == refusal(adapter, objective)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"init": "pissa"},
        {"init": "olora", "rslora": True},
        {"dora": True, "lr_ratio_b": 4.0},
        {"targets": ["q_proj", "v_proj"], "modules_to_save": ["lm_head"], "dropout": 0.1},
    ],
)
def test_lora_with_options(place: suite.Bench, options: dict[str, Any]) -> None:
    assert suite.check_pair(place, LoraAdapter(rank=4, **options), "causal_lm") == ""


class Restless(LoraAdapter):
    """Says that little learns, and lets more learn behind it."""

    def build(self, *args: Any, **kwargs: Any) -> Any:
        model = super().build(*args, **kwargs)
        model.get_input_embeddings().register_forward_hook(_stir)
        return model


def _stir(module: Any, inputs: Any, output: Any) -> None:
    with torch.no_grad():
        module.weight.add_(1e-4)


def test_the_suite_finds_weights_that_should_stay(place: suite.Bench) -> None:
    with pytest.raises(AssertionError, match="shall stay, but change"):
        suite.check_pair(place, Restless(rank=2), "classification")
