"""Out of memory: the step is done again in halves, with the gradient of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmwright.core.errors import ResourceError
from llmwright.training import setup
from llmwright.training.config import TrainConfig
from llmwright.training.loop import Trainee, fit
from llmwright.training.safety.memory import after_kills, is_out_of_memory, micro_batches
from llmwright.training.state import State
from llmwright.training.train import make_trainee, make_validation, set_seed


class Tokens:
    """Batches whose rows have as many tokens as their number says."""

    @staticmethod
    def count_tokens(indices_B: np.ndarray) -> int:
        return int(indices_B.sum())


def cut(rows: list[int], most: int | None) -> list[list[int]]:
    return [part.tolist() for part in micro_batches(Tokens(), np.array(rows), most)]


def test_batches_are_cut_in_halves_until_they_fit() -> None:
    assert cut([3, 3, 3, 3], None) == cut([3, 3, 3, 3], 12) == [[3, 3, 3, 3]]
    assert cut([3, 3, 3, 3], 11) == [[3, 3], [3, 3]]
    # Only the half that is too large is cut again; one row is never cut.
    assert cut([1, 1, 1, 9], 5) == [[1, 1], [1], [9]]


def narrow(trainee: Trainee, most: int, error: Exception | None = None) -> Trainee:
    """Let the model fail with more than so many rows, after it has drawn its random numbers."""

    def fail(module, arguments, options, output):
        if len(options["input_ids"]) > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory")

    trainee.model.register_forward_hook(fail, with_kwargs=True)
    return trainee


def trained(trainee: Trainee, state: State) -> list[float]:
    set_seed(42)
    return [float(result.loss) for result in fit(trainee, state)]


def test_a_repeated_step_is_as_if_it_had_been_planned_so(trainees) -> None:
    # Later steps may need a smaller micro-batch still.
    repeated, planned = narrow(trainees(max_steps=1), 4), trainees(max_steps=1)
    state = State()
    losses = trained(repeated, state)
    assert state.micro_batch_tokens is not None
    assert losses == trained(planned, State(micro_batch_tokens=state.micro_batch_tokens))
    for a, b in zip(repeated.model.parameters(), planned.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_micro_batches_give_the_gradient_of_the_whole_batch(trainees) -> None:
    whole, parts = trainees(), trainees()
    for trainee in (whole, parts):
        trainee.model.eval()  # without dropout, which draws otherwise for smaller parts
    assert trained(narrow(parts, 2), State()) == pytest.approx(trained(whole, State()), rel=1e-5)


def test_a_single_row_that_does_not_fit_is_said(trainees) -> None:
    trainee = narrow(trainees(), 0)
    before = [weight.clone() for weight in trainee.model.parameters()]
    with pytest.raises(ResourceError) as caught:
        trained(trainee, State())
    assert caught.value.code == "TRAIN-130"
    assert all(map(torch.equal, before, trainee.model.parameters()))


def test_validation_is_done_in_parts_that_fit(bench, tiny) -> None:
    rows = [{"text": "red sun " * (i % 5 + 1), "label": "ab"[i % 2]} for i in range(16)]
    split = bench.dataset("text-classification", "classification", train=rows, validation=rows)
    inputs = {
        "dataset": split,
        "tokenizer": bench.tokenizer(["red sun"], "cls_sep", "word"),
    }
    config = TrainConfig.model_validate({"model": tiny("encoder"), "precision": "float32"})
    problem = setup.define(config, inputs, bench.run())
    material = setup.prepare(config, problem, inputs, bench.run())
    validation = make_validation(config, problem, material)
    trainee = make_trainee(
        config, problem, material, config.runtime.build(), bench.run(), validation
    )
    expected = validation.measure(trainee)
    assert validation.measure(narrow(trainee, 3)) == pytest.approx(expected, abs=1e-6)


def test_after_each_kill_the_largest_micro_batch_is_halved() -> None:
    batches = Tokens()
    batches.epoch = lambda _: [np.array([2] * 8), np.array([1] * 8)]
    assert after_kills(batches, None, 0, 0) is None
    assert after_kills(batches, None, 1, 0) == 8
    assert after_kills(batches, None, 2, 0) == after_kills(batches, 8, 1, 0) == 4
    with pytest.raises(ResourceError, match="TRAIN-130"):
        after_kills(batches, None, 9, 0)


def test_too_little_memory_for_the_optimizer_is_said(trainees) -> None:
    trainee = trainees()

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainee.optimizer.register_step_pre_hook(fail)
    with pytest.raises(ResourceError, match="TRAIN-134.*AdamW"):
        trained(trainee, State())


def test_other_errors_are_no_lack_of_memory(trainees) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        trained(narrow(trainees(), 0, RuntimeError("shapes do not fit")), State())


def test_what_torch_and_numpy_say_when_memory_runs_out_is_known() -> None:
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(1 << 50)
    with pytest.raises(MemoryError) as numpys:
        np.zeros(1 << 50)
    assert is_out_of_memory(torchs.value)
    assert is_out_of_memory(numpys.value)
