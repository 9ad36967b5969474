"""What a step takes is known before it is made, and looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import pytest
import torch

from llmwright.core.errors import ResourceError
from llmwright.core.locale import text
from llmwright.training.footprint import memory as footprint
from llmwright.training.footprint.check import check_memory, foreseen, refuse
from llmwright.training.footprint.memory import largest_group, predict_memory
from llmwright.training.loop import one_step
from llmwright.training.objectives.causal_lm import CausalLMObjective
from llmwright.training.safety.memory import micro_batches
from llmwright.training.state import State

TEXTS = ["the cat sat on the mat", "a dog barks at the moon", "it rains"] * 8
SPEC = {"kind": "scratch", "hidden_size": 32, "num_layers": 2, "num_heads": 2}


@pytest.fixture
def pairs(bench: Any) -> tuple[Any, Any]:
    rows = [{"input": text, "target": text[::-1]} for text in TEXTS]
    return bench.dataset("seq2seq", "pair", train=rows), bench.tokenizer(TEXTS)


@pytest.fixture
def texts(bench: Any) -> tuple[Any, Any]:
    rows = [{"input": text, "target": text} for text in TEXTS]
    dataset = bench.dataset("text-generation", "pair", train=rows)
    return dataset, bench.tokenizer(TEXTS)


def test_terms_are_those_of_the_step(begin: Callable[..., Any], texts: tuple[Any, Any]) -> None:
    model = {**SPEC, "architecture": "decoder"}
    _, trainee = begin(*texts, {"model": model, "batch_size": 8})
    random = torch.get_rng_state()
    memory = predict_memory(trainee)
    size = sum(w.numel() * 4 for w in trainee.model.parameters())
    assert memory.gradients == size
    assert size <= memory.weights <= 1.1 * size
    # Adam keeps two numbers for each weight, and the number of its step for each tensor.
    assert 2 * size <= memory.optimizer <= 2.1 * size
    assert memory.activations + memory.logits > 100 * memory.places
    # Nothing was changed: the first true step is the one it would have been.
    assert torch.equal(random, torch.get_rng_state())
    assert all(weight.grad is None for weight in trainee.model.parameters())
    assert not trainee.optimizer.state
    result = one_step(trainee, State(), largest_group(trainee))
    assert result is not None
    assert 0 < float(result.loss) < 10


def test_more_rows_take_more_and_fewer_weights_less(
    bench: Any, begin: Callable[..., Any], pairs: tuple[Any, Any]
) -> None:
    model = {**SPEC, "architecture": "seq2seq"}
    _, small = begin(*pairs, {"model": model, "batch_size": 2})
    _, large = begin(*pairs, {"model": model, "batch_size": 8})
    few, many = predict_memory(small), predict_memory(large)
    assert 3 < (many.activations + many.logits) / (few.activations + few.logits) < 8
    assert many.gradients == few.gradients
    first = bench.train({"model": model, "max_steps": 1, "probes": {"count": 4}}, *pairs)
    values = {"model": {"kind": "hub", "name": str(first.path)}, "batch_size": 8}
    _, adapted = begin(*pairs, {**values, "adapter": {"kind": "lora", "rank": 4}})
    assert predict_memory(adapted).gradients < 0.3 * many.gradients


def test_what_does_not_fit_is_refused_with_what_would_help(
    begin: Callable[..., Any], texts: tuple[Any, Any]
) -> None:
    model = {**SPEC, "architecture": "decoder"}
    config, trainee = begin(*texts, {"model": model, "batch_size": 8})
    memory = predict_memory(trainee)
    assert memory.fits
    short = replace(memory, available=int(0.9 * memory.still_to_take))
    with pytest.raises(ResourceError) as caught:
        refuse(config, short, lambda *_: None)
    assert caught.value.code == "TRAIN-150"
    assert "activations" in caught.value.message
    assert "lora" in caught.value.fix
    said: list[tuple[str, ...]] = []
    warned = config.model_copy(update={"memory_check": "warn"})
    refuse(warned, short, lambda *words: said.append(words))
    assert said[0][1] == "warning"
    unchecked = config.model_copy(update={"memory_check": "off"})
    assert check_memory(unchecked, trainee, print) == (None, None)


def test_a_run_that_is_known_to_need_smaller_parts_is_judged_by_them(
    begin: Callable[..., Any], texts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {**SPEC, "architecture": "decoder", "hidden_size": 64}
    config, trainee = begin(*texts, {"model": model, "batch_size": 24})
    (whole,) = largest_group(trainee)
    most = trainee.batches.count_tokens(whole) // 8
    parts = largest_group(trainee, most)
    # The second part meets the gradients of the first.
    assert len(parts) == 2
    assert all(trainee.batches.count_tokens(part) <= most for part in parts)
    few, many = predict_memory(trainee, most), predict_memory(trainee)
    assert few.still_to_take < many.still_to_take
    between = (few.still_to_take + many.still_to_take) // 2
    monkeypatch.setattr(footprint, "available_bytes", lambda device: between)
    found, tokens = check_memory(config, trainee, print, most)
    assert (found.still_to_take, tokens) == (few.still_to_take, most)


def test_batches_that_would_not_fit_are_computed_in_the_largest_parts_that_do(
    begin: Callable[..., Any], texts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {**SPEC, "architecture": "decoder", "hidden_size": 64}
    config, trainee = begin(*texts, {"model": model, "batch_size": 24})
    whole = predict_memory(trainee)
    monkeypatch.setattr(footprint, "available_bytes", lambda device: whole.still_to_take - 1)
    said: list[str] = []
    memory, tokens = check_memory(config, trainee, said.append)
    assert memory.fits
    assert memory.rows == 12
    assert said == [text("training.parts_foreseen", tokens=tokens)]
    assert not trainee.model.is_activation_checkpointing
    # It is the same step.
    (group,) = largest_group(trainee)
    state = State(micro_batch_tokens=tokens)
    result = one_step(trainee, state, [group])
    _, alike = begin(*texts, {"model": model, "batch_size": 24})
    assert float(result.loss) == pytest.approx(float(one_step(alike, State(), [group]).loss), 1e-5)
    assert len(micro_batches(trainee.batches, group, tokens)) == 2


def test_what_no_part_could_mend_is_refused_after_two_looks(
    begin: Callable[..., Any], texts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {**SPEC, "architecture": "decoder"}
    config, trainee = begin(*texts, {"model": model, "batch_size": 24, "checkpointing": False})
    fixed = predict_memory(trainee).gradients
    monkeypatch.setattr(footprint, "available_bytes", lambda device: fixed)
    looks: list[int] = []
    simulate = footprint.simulate

    def counted(trainee: Any, group: Any) -> Any:
        looks.append(len(group[0]))
        return simulate(trainee, group)

    monkeypatch.setattr(footprint, "simulate", counted)
    with pytest.raises(ResourceError, match="TRAIN-150"):
        check_memory(config, trainee, print)
    assert looks == [24, 1]
    # Where nobody is to look, a plan cuts nothing either.
    unchecked = config.model_copy(update={"memory_check": "off"})
    memory, tokens = foreseen(unchecked, trainee, print)
    assert not memory.fits
    assert tokens is None


def test_few_activations_are_kept_where_memory_asks_for_it(
    begin: Callable[..., Any], texts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {**SPEC, "architecture": "decoder", "hidden_size": 64, "num_layers": 8}
    # A row cannot be cut.
    values = {"model": model, "batch_size": 1}
    said: list[str] = []

    def checked(trainee: Any, config: Any) -> Any:
        return check_memory(config, trainee, lambda *words: said.append(words[0])).memory

    config, trainee = begin(*texts, values)
    whole = predict_memory(trainee)
    always, saving = begin(*texts, {**values, "checkpointing": True})
    few = predict_memory(saving)
    assert few.activations < 0.9 * whole.activations
    between = (few.still_to_take + whole.still_to_take) // 2
    monkeypatch.setattr(footprint, "available_bytes", lambda device: between)
    with pytest.raises(ResourceError, match="TRAIN-150"):
        checked(trainee, config.model_copy(update={"checkpointing": False}))
    assert checked(saving, always).fits
    assert said == []
    assert checked(trainee, config).activations == few.activations
    assert "memory" in said[0]
    assert trainee.model.is_activation_checkpointing


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_nobody_waits_for_a_reference_to_know_what_a_step_takes(
    begin: Callable[..., Any], bench: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = {"prompt": [{"role": "user", "content": "hi"}]}
    rows = {
        "dpo": [{**said, "chosen": "good day", "rejected": "go away"}] * 8,
        "kto": [{**said, "completion": "good day", "flag": n % 2 == 0} for n in range(8)],
    }[name]
    kind = "preference" if name == "dpo" else "flag"
    dataset = bench.dataset("text-generation", kind, train=rows, validation=rows)
    values = {"model": {**SPEC, "architecture": "decoder"}, "objective": {"kind": name}}
    read: list[int] = []
    monkeypatch.setattr(CausalLMObjective, "plain_losses", counted(read))
    _, trainee = begin(dataset, bench.tokenizer(["hi", "good day", "go away"]), values)
    assert read == []
    assert predict_memory(trainee).still_to_take > 0
    # The step alone was tried.
    assert len(read) <= 2


def counted(calls: list[int]) -> Callable[..., Any]:
    plain = CausalLMObjective.plain_losses

    def count(self: Any, model: Any, tensors: Any) -> Any:
        calls.append(1)
        return plain(self, model, tensors)

    return count


@pytest.mark.slow
def test_a_batch_beyond_any_machine_is_cut_before_it_is_made(
    bench: Any, begin: Callable[..., Any]
) -> None:
    row = "abcdefgh" * 500
    rows = [{"text": row + str(n), "label": "ab"[n % 2]} for n in range(300)]
    dataset = bench.dataset("text-classification", "classification", train=rows)
    values = {
        "model": {**SPEC, "architecture": "encoder", "hidden_size": 512, "context": 4096},
        "batch_size": 300,
        "max_length": 4096,
        "max_steps": 1,
    }
    config, trainee = begin(dataset, bench.tokenizer([row]), values)
    assert not predict_memory(trainee).fits
    before = psutil.Process().memory_info().rss
    memory, tokens = check_memory(config, trainee, print)
    assert memory.fits
    assert memory.rows < 300
    assert tokens >= 4000
    assert psutil.Process().memory_info().rss < before + 200e6
