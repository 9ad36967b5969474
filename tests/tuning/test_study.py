"""The journal of a search: what is chosen, what counts, what a kill leaves."""

from __future__ import annotations

import pytest

from llmwright.tuning.config import TuneConfig
from llmwright.tuning.record import record_of
from llmwright.tuning.study import JOURNAL_FILE, Study
from llmwright.tuning.trial import Goal, Outcome

SPACE = {"train.lr": {"log": [1e-4, 1e-1]}, "train.weight_decay": {"float": [0, 1]}}
GRID = {"train.lr": {"choices": [0.1, 0.2]}, "train.batch_size": {"int": [1, 3]}}
LOSS = Goal("loss", "minimize")


def opened(folder, goal=LOSS, **values) -> Study:
    return Study(TuneConfig.model_validate({"space": SPACE, **values}), goal, folder)


def value_of(values) -> float:
    """What a training would measure."""
    return abs(float(values["train.lr"]) - 0.01) + values.get("train.weight_decay", 0)


def work(study: Study, at_most: int = 99) -> None:
    while not study.is_over() and at_most:
        number, values, _ = study.begin()
        value = value_of(values)
        study.judge(number, 1, value)
        study.end(number, Outcome("complete", 1.0, {"loss": value}))
        at_most -= 1


def chosen(study: Study) -> list[dict]:
    return [trial.params for trial in study.ended]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_the_seed_decides_what_is_tried(tmp_path, sampler) -> None:
    studies = []
    named = {"kind": sampler, "num_startup": 3} if sampler == "tpe" else sampler
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        study = opened(tmp_path / name, seed=seed, num_trials=8, sampler=named)
        work(study)
        studies.append(chosen(study))
    first, again, other = studies
    assert first == again != other
    assert len(first) == len({str(one) for one in first}) == 8


@pytest.mark.parametrize("sampler", [{"kind": "tpe", "num_startup": 3}, "random", "grid"])
def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path, sampler) -> None:
    values = {"num_trials": 12, "sampler": sampler, "space": GRID if sampler == "grid" else SPACE}
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = opened(tmp_path / "whole", **values)
    work(whole)
    killed = opened(tmp_path / "killed", **values)
    work(killed, at_most=3)
    number, lost, _ = killed.begin()
    # The process is gone in the middle of a line; the next one opens what it left.
    with (tmp_path / "killed" / JOURNAL_FILE).open("a") as file:
        file.write('{"op_code": 6, "wor')
    (tmp_path / "killed" / f"{JOURNAL_FILE}.lock").touch()
    again = opened(tmp_path / "killed", **values)
    assert again.lost == [number]
    assert len(again.counted) == 3
    repeated, values_again, repeats = again.begin()
    assert (values_again, repeats) == (lost, number)
    # It is killed once more, in the very same trial.
    again = opened(tmp_path / "killed", **values)
    assert again.lost == [number, repeated]
    work(again)
    assert chosen(again) == chosen(whole)
    assert len(again.ended) == (6 if sampler == "grid" else 12)


def test_a_grid_is_tried_whole_and_once(tmp_path) -> None:
    study = opened(tmp_path, space=GRID, sampler="grid")
    work(study)
    pairs = [(one["train.lr"], one["train.batch_size"]) for one in chosen(study)]
    assert sorted(pairs) == [(lr, size) for lr in ("0.1", "0.2") for size in (1, 2, 3)]
    assert study.is_over()


def test_the_budget_counts_all_that_ended(tmp_path) -> None:
    study = opened(tmp_path, num_trials=3)
    for state in ("failed", "pruned"):
        number, _, _ = study.begin()
        study.judge(number, 1, 1.0)
        study.end(number, Outcome(state, 1.0, error="x" if state == "failed" else ""))
    assert not study.is_over()
    assert study.best is None
    work(study)
    assert len(study.ended) == 3
    assert study.best.number == 2
    # Minutes count over all processes.
    assert opened(tmp_path, num_trials=None, max_minutes=1e-9).is_over()
    assert opened(tmp_path).num_wanted() == 20


def test_the_time_of_a_killed_trial_counts(tmp_path) -> None:
    study = opened(tmp_path, num_trials=None, max_minutes=1)
    number, _, _ = study.begin()
    before = study.seconds
    study.judge(number, 1, 1.0)
    assert opened(tmp_path, num_trials=None, max_minutes=before / 60).is_over()


def test_what_did_nothing_but_fail_is_tried_again(tmp_path) -> None:
    def fail(study, times):
        tried = []
        for _ in range(times):
            number, values, _ = study.begin()
            tried.append(values)
            study.end(number, Outcome("failed", 1.0, error="no tokenizer"))
        return tried

    study = opened(tmp_path, num_trials=5)
    tried = fail(study, 2)
    assert not study.is_hopeless()
    assert opened(tmp_path, num_trials=5).lost == []
    tried += fail(study, 1)
    assert study.is_hopeless()
    again = opened(tmp_path, num_trials=5)
    assert again.lost == [0, 1, 2]
    assert again.counted == []
    work(again)
    assert chosen(again)[:3] == tried
    assert len(chosen(again)) == 5


def test_a_bad_trial_is_pruned_and_a_good_one_is_not(tmp_path) -> None:
    study = opened(tmp_path, pruner={"kind": "median", "num_startup": 2}, num_trials=9)
    for _ in range(3):
        number, _, _ = study.begin()
        assert not any(study.judge(number, step, 1 / step) for step in (1, 2, 3))
        study.end(number, Outcome("complete", 1.0, {"loss": 1 / 3}))
    good, _, _ = study.begin()
    bad, _, _ = study.begin()
    assert not study.judge(good, 1, 0.1)
    assert not study.judge(good, 2, 0.1)
    assert not study.judge(bad, 1, 9.0), "the first evaluation ends nothing"
    assert study.judge(bad, 2, 9.0)


def test_hyperband_halves_the_field(tmp_path) -> None:
    study = opened(tmp_path, pruner="hyperband", num_trials=20, seed=3)
    pruned_at = []
    for i in range(20):
        number, _, _ = study.begin()
        value = (i * 7) % 20
        step = next((s for s in range(1, 10) if study.judge(number, s, value)), None)
        pruned_at.append(step)
        state = "pruned" if step else "complete"
        study.end(number, Outcome(state, 1.0, {} if step else {"loss": value}))
    ended = [step for step in pruned_at if step]
    assert len(ended) > 5
    assert set(ended) <= {1, 3, 9}


def test_among_equals_the_smallest_loss_is_best(tmp_path) -> None:
    study = opened(tmp_path, goal=Goal("accuracy", "maximize"), num_trials=4)
    for accuracy, loss in ((0.5, 0.1), (0.9, 0.4), (0.9, 0.3), (0.9, 0.5)):
        number, _, _ = study.begin()
        study.end(number, Outcome("complete", 1.0, {"accuracy": accuracy, "loss": loss}))
    assert study.best.number == 2


def test_importances_name_what_mattered(tmp_path) -> None:
    study = opened(tmp_path, sampler="random", num_trials=24)
    assert study.importances() == {}
    while not study.is_over():
        number, values, _ = study.begin()
        study.end(number, Outcome("complete", 1.0, {"loss": values["train.weight_decay"]}))
    shares = study.importances()
    assert next(iter(shares)) == "train.weight_decay"
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train.weight_decay"] > 0.8


def test_the_record_has_every_trial_once(tmp_path) -> None:
    from types import SimpleNamespace

    study = opened(tmp_path, num_trials=3)
    work(study, at_most=1)
    study.begin()
    study = opened(tmp_path, num_trials=3)
    work(study)
    record = record_of(study.config, study, SimpleNamespace(id="m"))
    assert [trial.state for trial in record.trials] == ["complete"] * 3
    assert [trial.number for trial in record.trials] == [1, 2, 3]
    assert record.best_trial.value == min(trial.value for trial in record.trials)
    one = record.trials[0]
    assert one.config["lr"] == one.values["train.lr"]
    assert one.metrics == {"loss": one.value}
    assert one.evaluations == {1: one.value}
