"""Going on from an earlier search that had another budget."""

from __future__ import annotations

import shutil
from pathlib import Path

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import LLMwrightError
from llmwright.core.locale import text
from llmwright.core.origin import lock as locks
from llmwright.core.runs import Run
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.search import TRIALS
from llmwright.tuning.study import JOURNAL_FILE, Study
from llmwright.tuning.trial import STORE, Goal

# Below the run's folder: what is being taken over, until it is whole.
TAKEN = "taken"


def take_over(config: TuneConfig, goal: Goal, run: Run) -> None:
    """Copy the trials of an earlier search with another budget, where there is one.

    They must be no more than this search may have: else it would not be the search that its
    settings say. A search that has begun already is left as it is.
    """
    old = run.shorter
    if old is None or (run.folder / JOURNAL_FILE).exists():
        return
    if not (old / JOURNAL_FILE).is_file():
        return
    staged = run.folder / TAKEN
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    shutil.copy(old / JOURNAL_FILE, staged)
    study = Study(config, goal, staged)
    refusal = _copy_trials(study, old, run)
    if refusal:
        run.notice(refusal, "warning")
    else:
        run.notice(text("tuning.taken_over", run=old.name, count=len(study.ended)))
        _adopt(staged, old, run)
    shutil.rmtree(staged)


def _copy_trials(study: Study, old: Path, run: Run) -> str:
    """Copy what trials left that count; return why that cannot be, else nothing."""
    wanted = study.num_wanted()
    if wanted is not None and len(study.counted) > wanted:
        return text("tuning.more_trials", run=old.name, count=len(study.counted))
    trials = run.folder / TRIALS
    shutil.rmtree(trials, ignore_errors=True)
    if (old / TRIALS).is_dir():
        shutil.copytree(old / TRIALS, trials)
    best = study.best
    if best is None or study.config.num_folds is not None:
        return ""
    store = Store(trials / str(best.number) / STORE)
    if store.folders():
        return ""
    model = _model_of(old, run.store)
    if model is None:
        return text("tuning.model_gone", run=old.name)
    shutil.copytree(model.path, store.root / model.kind / model.id)
    return ""


def _model_of(old: Path, store: Store) -> Artifact | None:
    """Return the model of a finished search, where it is still there."""
    try:
        lock, _ = locks.read(old / locks.LOCK_FILE)
        study = store.get(lock["result"]["artifact"])
    except (LLMwrightError, KeyError):
        return None
    return store.get(str(study.metadata["model"])) if study is not None else None


def _adopt(staged: Path, old: Path, run: Run) -> None:
    """Make the journal this run's own; its lock says what calculated the trials before."""
    lock, changes = locks.continued(old, run.origin)
    run.origin.update(lock)
    if run.origin:
        locks.write(run.folder, run.origin)
    if changes:
        run.notice(text("core.resumed_otherwise", changes="; ".join(changes)), "warning")
    # The last step: who is killed before it begins again.
    (staged / JOURNAL_FILE).rename(run.folder / JOURNAL_FILE)
    files.sync_folder(run.folder)
