"""Bad steps: found on the device, refused without a trace, and named with the rows to blame."""

from __future__ import annotations

import math

import pytest
import torch

from llmwright.core.errors import CheckError
from llmwright.core.events import Notice
from llmwright.training.following.callbacks import Follower
from llmwright.training.loop import Trainee, fit
from llmwright.training.safety.guard import Guard, Verdict, step_unless
from llmwright.training.state import State
from llmwright.training.train import set_seed

PLACES = [{"source": "train.csv", "row": number + 1} for number in range(24)]


def judged(guard: Guard, losses: list[float]) -> list[Verdict]:
    return [Verdict(int(guard.verdict(torch.tensor(loss), None))) for loss in losses]


def test_a_jump_far_above_the_last_losses_is_a_spike() -> None:
    guard = Guard(on_spike="skip", spike_threshold=10)
    usual = [2.0 + 0.01 * (i % 5) for i in range(40)]
    assert set(judged(guard, usual)) == {Verdict.GOOD}
    found = judged(guard, [2.05, 2.5, math.nan, 2.0, 1.0])
    assert found == [Verdict.GOOD, Verdict.SPIKE, Verdict.NO_NUMBER, Verdict.GOOD, Verdict.GOOD]
    # Where losses stay high, that becomes what is usual.
    found = judged(guard, [3.0 + 0.01 * (i % 5) for i in range(60)])
    assert found[0] is Verdict.SPIKE
    assert found[-1] is Verdict.GOOD


def test_the_first_losses_are_no_spikes() -> None:
    assert set(judged(Guard(on_spike="stop"), [1.0, 9.0, 1.0, 50.0])) == {Verdict.GOOD}


def test_what_is_usual_outlives_a_kill() -> None:
    whole, first, second = (Guard(on_spike="skip", spike_threshold=5) for _ in range(3))
    losses = [2.0 + 0.1 * math.sin(i) for i in range(80)]
    later = [2.2, 2.9, 2.5, 4.0]
    expected = judged(whole, losses + later)[80:]
    judged(first, losses)
    second.begin(State(recent_losses=torch.tensor(losses).tolist()))
    assert judged(second, later) == expected
    assert set(expected) == {Verdict.GOOD, Verdict.SPIKE}


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_a_fused_optimizer_leaves_a_bad_step_out_by_itself(make) -> None:
    """What happens on a GPU, where nothing reads the verdict; it is the same code here."""
    model = torch.nn.Linear(3, 2)
    optimizer = make(model.parameters(), lr=0.1, fused=True)

    def state() -> list[torch.Tensor]:
        kept = [v for s in optimizer.state.values() for v in s.values() if v is not None]
        return [value.detach().clone() for value in (*model.parameters(), *kept)]

    def step(verdict: Verdict) -> None:
        model(torch.ones(1, 3)).sum().backward()
        if verdict is not Verdict.GOOD:
            model.weight.grad.fill_(math.nan)
        step_unless(optimizer, torch.tensor(int(verdict)))
        optimizer.zero_grad()

    step(Verdict.GOOD)
    before = state()
    step(Verdict.NO_NUMBER)
    assert all(map(torch.equal, before, state()))
    step(Verdict.GOOD)
    assert not any(map(torch.equal, before, state()))


def break_at(trainee: Trainee, *calls: int) -> None:
    """Let the model answer one row of these calls with no numbers."""
    made = []

    def broken(module, arguments, options, output):
        made.append(1)
        if len(made) in calls:
            output.logits = output.logits * torch.tensor([[math.nan]] + [[1.0]] * 7)
        return output

    trainee.model.register_forward_hook(broken, with_kwargs=True)


def followed(trainee: Trainee, run, state: State) -> list[list[torch.Tensor]]:
    """Return the weights after each step."""
    set_seed(42)
    follower = Follower(trainee, state, run, PLACES, 10)
    found = []
    for result in fit(trainee, state):
        follower.after(result)
        found.append([weight.detach().clone() for weight in trainee.model.parameters()])
    follower.finish()
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
def test_a_skipped_step_changes_nothing_and_is_said(trainees, bench, optimizer) -> None:
    trainee = trainees(on_nan="skip", optimizer=optimizer, max_grad_norm=None)
    break_at(trainee, 3)
    state = State()
    steps = followed(trainee, bench.run(), state)
    assert all(map(torch.equal, steps[1], steps[2]))
    assert not any(map(torch.equal, steps[2], steps[3]))
    assert (state.step, state.num_skipped, state.skipped_in_row) == (5, 1, 0)
    assert math.isfinite(state.history[0]["loss"])
    said = [e.text for e in bench.events if isinstance(e, Notice)]
    assert any("Step 3 was skipped" in sentence for sentence in said)
    assert any("1 steps were skipped" in sentence for sentence in said)


def test_a_step_that_stops_the_run_leaves_the_weights_good(trainees, bench) -> None:
    trainee = trainees()
    break_at(trainee, 3)
    with pytest.raises(CheckError) as caught:
        followed(trainee, bench.run(), State())
    assert caught.value.code == "TRAIN-012"
    assert all(bool(weight.isfinite().all()) for weight in trainee.model.parameters())


def test_rows_are_named_with_their_losses_the_broken_one_first(trainees, bench) -> None:
    trainee = trainees()
    # The third step, and again when the losses of its rows are asked for.
    break_at(trainee, 3, 4)
    with pytest.raises(CheckError) as caught:
        followed(trainee, bench.run(), State())
    rows = caught.value.values["rows"].split(", ")
    assert rows[0].endswith("(loss nan)")
    assert len(rows) == 8
    losses = [float(row.rpartition(" ")[2].rstrip(")")) for row in rows[1:]]
    assert losses == sorted(losses, reverse=True)
    assert all(row.startswith("train.csv:") for row in rows)


def test_a_run_in_which_nothing_is_learned_any_more_ends(trainees, bench) -> None:
    trainee = trainees(on_nan="skip", max_steps=30)
    break_at(trainee, *range(100))
    state = State()
    with pytest.raises(CheckError, match="TRAIN-133"):
        followed(trainee, bench.run(), state)
    assert state.num_skipped == 20
