"""The operation ``tune``: search, then keep the best model and say how it was found."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping

from llmwright.core import pipeline
from llmwright.core.artifacts import MANIFEST, Artifact, Store
from llmwright.core.errors import StoppedError
from llmwright.core.locale import text
from llmwright.core.origin import lock as locks
from llmwright.core.project import Project
from llmwright.core.runs import Run
from llmwright.training.config import TrainConfig
from llmwright.training.train import train
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.crossval import make_folds
from llmwright.tuning.extending import take_over
from llmwright.tuning.goal import goal_of
from llmwright.tuning.report import save_study
from llmwright.tuning.search import TRIALS, Search, kept_curves, nothing_found
from llmwright.tuning.space import PREFIX
from llmwright.tuning.study import Study
from llmwright.tuning.trial import STORE
from llmwright.tuning.workers import Inline, Pool, Workers

# Below the run's folder: where the best settings are trained on all rows.
FINAL = "final"


def tune(config: TuneConfig, inputs: Mapping[str, Artifact], run: Run) -> Artifact:
    """Return the study; its best model becomes an artifact of its own, named in its metadata.

    Args:
        config: What is searched.
        inputs: What `train` takes, each field with ``train.`` before it.
        run: Its folder keeps the journal of the study and the best model so far; a run that finds
            some there goes on from it, another one from those of the same search with another
            budget.

    Returns:
        ``study.json``, ``study.html`` and ``best.yaml``, the settings of the best model.

    Raises:
        ConfigError: There is nothing to judge trials by (``TUNE-009``), or the space changes by
            what they are judged (``TUNE-020``).
        InputError: No training rows (``TRAIN-001``), or too few for the folds (``TUNE-010``).
        CheckError: No trial came to its end (``TUNE-011``).
        StoppedError: The user stopped the search; the next start goes on (``CORE-060``).
    """
    given = {name.removeprefix(PREFIX): artifact for name, artifact in inputs.items()}
    goal = goal_of(config, given["dataset"])
    folds: list[Artifact] = []
    if config.num_folds is not None:
        store = Store(run.folder / "folds")
        folds = make_folds(given["dataset"], config.num_folds, config.seed, store, run.notice)
    take_over(config, goal, run)
    study = Study(config, goal, run.folder)
    try:
        with run.stoppable(), workers_for(config, study, run) as workers:
            Search(study, workers, given, folds, run).go()
    except StoppedError:
        # It was the trial that was asked; what goes on is the search.
        raise run.stop() from None
    if study.best is None:
        raise nothing_found(study)
    model = keep_model(config, study, given, run)
    artifact = save_study(config, study, model, run)
    for name in (TRIALS, "folds", FINAL):
        shutil.rmtree(run.folder / name, ignore_errors=True)
    return artifact


@contextlib.contextmanager
def workers_for(config: TuneConfig, study: Study, run: Run) -> Iterator[Workers]:
    """Yield who performs the trials."""
    if config.num_parallel == 1:
        yield Inline(Search.shown(run), study.judge)
        return
    with Pool(config.num_parallel, run, study.judge) as pool:
        yield pool


def keep_model(
    config: TuneConfig, study: Study, inputs: Mapping[str, Artifact], run: Run
) -> Artifact:
    """Return the best trial's own model; where it was cross-validated, one trained on all rows."""
    best = study.best
    assert best is not None
    made_by = _as_training(config.point(best.params), inputs, run)
    for own in Store(run.folder / TRIALS / str(best.number) / STORE).list():
        return _copied(own, made_by)
    run.notice(text("tuning.final"))
    made_by.folder.mkdir(exist_ok=True)
    return train(kept_curves(config.point(best.params), run), inputs, made_by)


def _as_training(config: TrainConfig, inputs: Mapping[str, Artifact], run: Run) -> Run:
    """Return a run whose models say that they come of this training, not of the whole search."""
    project = Project(run.root)
    local = pipeline.local_hashes(project, config)
    lock = locks.of_part(run.origin, "train", project, config, inputs, local)
    return Run(f"{run.id}-{FINAL}", run.folder / FINAL, run.root, run.store, [run.emit], lock)


def _copied(model: Artifact, run: Run) -> Artifact:
    """Return the very same model as an artifact of the project."""
    with run.draft("model") as draft:
        shutil.copytree(model.path, draft.path, dirs_exist_ok=True)
        (draft.path / MANIFEST).unlink()
        draft.metadata.update(model.metadata)
    assert draft.artifact is not None
    return draft.artifact
