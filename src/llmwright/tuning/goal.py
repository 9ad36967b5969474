"""What the trials of a search are compared by, and what may not be varied for its sake."""

from __future__ import annotations

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.locale import text
from llmwright.data.records import Dataset, DatasetInfo
from llmwright.training.following.validation import selected_by
from llmwright.training.setup import learned, refuse_without_validation
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.space import PREFIX, combinations, laid_over
from llmwright.tuning.trial import Goal

OBJECTIVE = f"{PREFIX}objective"


def goal_of(config: TuneConfig, source: Artifact) -> Goal:
    """Return what trials are compared by: what chooses the best checkpoint of a training.

    Raises:
        ConfigError: There are no rows to measure it on (``TUNE-009``), an option needs a validation
            split that only the folds have (``TRAIN-017``), or trials would each be measured
            otherwise (``TUNE-020``).
        InputError: There are no training rows (``TRAIN-001``).
    """
    dataset = Dataset.open(source.path)
    if "train" not in dataset.splits:
        raise InputError("TRAIN-001", path=dataset.path)
    if config.num_folds is None and "validation" not in dataset.splits:
        pruner = config.pruner.kind
        raise ConfigError("TUNE-009", where="tune.num_folds", path=source.path, pruner=pruner)
    if "validation" not in dataset.splits:
        # The folds have one, but the training on all rows at the end will not.
        refuse_without_validation(config.train)
    _, _, task = learned(config.train, dataset.info)
    metric, mode = selected_by(task, config.train.selection)
    refuse_changed_measure(config, dataset.info, metric)
    return Goal(metric, "minimize" if mode == "min" else "maximize")


def refuse_changed_measure(config: TuneConfig, info: DatasetInfo, metric: str) -> None:
    """Refuse a space whose trials are measured each in its own way.

    Some objectives measure loss, or accuracy, with settings of their own, as `beta` of `dpo`: the
    smallest number would then only be that of the smallest scale.

    Args:
        config: What is searched.
        info: Of the dataset; says what is learned where no objective is named.
        metric: What trials are compared by.

    Raises:
        ConfigError: ``TUNE-020``.
    """
    varied = {key: d for key, d in config.space.items() if f"{key}.".startswith(f"{OBJECTIVE}.")}
    made = [laid_over(config.train, values) for values in combinations(varied)]
    kinds = [learned(one, info)[0] for one in made]
    measures = [kind.measure(metric) for kind in kinds]
    if len({files.sha256_json(measure) for measure in measures}) == 1:
        return
    changed = _changed(measures)
    alike = {files.sha256_json(kind.measure("accuracy")) for kind in kinds}
    way = text("tuning.by_accuracy") if metric == "loss" and len(alike) == 1 else ""
    keys = [f"{OBJECTIVE}.{name}" for name in changed]
    # The very setting where it is named; else what it is a part of.
    key = next((key for key in keys if key in varied), next(iter(varied)))
    raise ConfigError(
        "TUNE-020",
        where=f"tune.space.{key}",
        key=key,
        metric=metric,
        settings=", ".join(changed),
        way=way,
    )


def _changed(measures: list[dict[str, object]]) -> list[str]:
    """Return the names of what is not the same in all of them."""
    names = dict.fromkeys(name for measure in measures for name in measure)
    return [name for name in names if len({repr(one.get(name)) for one in measures}) > 1]
