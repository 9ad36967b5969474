"""The samplers and pruners, all of them Optuna's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

if TYPE_CHECKING:
    from llmwright.tuning.config import CmaEs, Hyperband, Median, NoPruner, SamplerKind, Tpe


def tpe(config: Tpe, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of this seed."""
    return optuna.samplers.TPESampler(n_startup_trials=config.num_startup, seed=seed)


def random(config: SamplerKind, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of this seed."""
    return optuna.samplers.RandomSampler(seed=seed)


def cma_es(config: CmaEs, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of this seed."""
    # The first trials are by chance on purpose; what Optuna warns of was refused before.
    return optuna.samplers.CmaEsSampler(
        n_startup_trials=config.num_startup, seed=seed, warn_independent_sampling=False
    )


def no_pruner(config: NoPruner) -> optuna.pruners.BasePruner:
    """Return the pruner."""
    return optuna.pruners.NopPruner()


def median(config: Median) -> optuna.pruners.BasePruner:
    """Return the pruner."""
    # Steps are counted from 1.
    return optuna.pruners.MedianPruner(config.num_startup, config.num_warmup + 1)


def hyperband(config: Hyperband) -> optuna.pruners.BasePruner:
    """Return the pruner; how long a whole trial is it learns from the first one."""
    return optuna.pruners.HyperbandPruner(
        min_resource=config.min_evaluations, reduction_factor=config.reduction_factor
    )
