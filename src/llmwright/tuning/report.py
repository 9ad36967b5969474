"""What a search leaves: every trial as a record, a page to look at, and the best settings."""

from __future__ import annotations

import dataclasses

import yaml

from llmwright.core import files, locale
from llmwright.core.artifacts import Artifact
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.page.document import build_page
from llmwright.tuning.record import record_of, shown
from llmwright.tuning.study import Study

VERSION = 1
STUDY_FILE, PAGE_FILE, BEST_FILE = "study.json", "study.html", "best.yaml"


def save_study(config: TuneConfig, study: Study, model: Artifact, run: Run) -> Artifact:
    """Write the study and say what was best."""
    record = record_of(config, study, model)
    best = record.best_trial
    with run.draft("study") as draft:
        body = {"version": VERSION, **dataclasses.asdict(record)}
        files.write_json(draft.path / STUDY_FILE, body)
        page = build_page(record, locale.language())
        (draft.path / PAGE_FILE).write_text(page, encoding="utf-8")
        settings = yaml.safe_dump({"train": best.config}, allow_unicode=True, sort_keys=False)
        (draft.path / BEST_FILE).write_text(settings, encoding="utf-8")
        draft.metadata.update(
            model=model.id,
            metric=record.goal.metric,
            best=best.value,
            values=best.values,
            trials={state: record.num(state) for state in ("complete", "pruned", "failed")},
            # Not in the files: the same search shall make the same artifact.
            seconds=round(study.seconds, 3),
            trial_seconds=[round(trial.user_attrs["seconds"], 3) for trial in study.counted],
            interrupted=len(study.lost),
        )
    assert draft.artifact is not None
    sentence = text(
        "tuning.found",
        metric=record.goal.metric,
        value=f"{best.value:.4g}",
        number=best.number,
        values=", ".join(f"{key} = {shown(value)}" for key, value in best.values.items()),
        model=model.id,
    )
    run.notice(sentence)
    run.notice(text("tuning.page", path=draft.artifact.path / PAGE_FILE))
    return draft.artifact
