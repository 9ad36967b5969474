"""Every registered architecture keeps the contract that plugins are held to; broken ones do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from llmwright.models.config import ARCHITECTURES, Encoder, Recurrent
from llmwright.testing import architecture as suite


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_registered_architecture(name: str) -> None:
    suite.check_architecture(ARCHITECTURES.get(name)())


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"cell": "lstm"}, {"cell": "rnn", "ngram_orders": (1, 2)}])
def test_recurrent_with_options(options: dict[str, Any]) -> None:
    suite.check_architecture(Recurrent(**options))


def trial() -> suite.Trial:
    return next(t for t in suite.trials_of(Encoder()) if t.task.name == "text-classification")


def test_the_suite_finds_a_model_that_sees_padding() -> None:
    found = trial()
    forward = found.model.forward
    found.model.forward = lambda input_ids, attention_mask=None: forward(input_ids)
    with pytest.raises(AssertionError, match="padding changes the logits"):
        suite.check_padding(found)


def test_the_suite_finds_a_model_that_does_not_learn() -> None:
    found = trial()
    for weight in found.model.parameters():
        weight.requires_grad = False
    found.model.classifier.bias.requires_grad = True
    with pytest.raises(AssertionError, match="learn"):
        suite.check_learning(found)


def test_the_suite_finds_a_weight_that_does_not_learn_unless_the_architecture_names_it() -> None:
    found = trial()
    found.model.classifier.spare = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(AssertionError, match=r"do not learn: \['classifier.spare'\]"):
        suite.check_learning(found)
    suite.check_learning(dataclasses.replace(found, unused=("*.spare",)))


def test_the_suite_finds_weights_that_are_not_saved() -> None:
    class Leaky(Encoder):
        def build(self, *args: Any, **kwargs: Any) -> Any:
            model = super().build(*args, **kwargs)
            model.register_buffer("noise", torch.rand(3), persistent=True)
            return model

    with pytest.raises(AssertionError, match="weights changed by saving"):
        suite.check_saving(Leaky(), "AutoModelForSequenceClassification")
