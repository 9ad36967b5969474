"""The space of a search: checked against the settings of `train` before anything is trained."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import yaml

from llmwright.core import layers
from llmwright.core.config import form_at, inputs_of, names_at, parse, places_at
from llmwright.core.errors import ConfigError, LLMwrightError, closest
from llmwright.core.locale import text
from llmwright.training.config import TrainConfig
from llmwright.tuning.domains import FORMS, RANGES, WHOLE, Domain

PREFIX = "train."
# More combinations of choices than this are not all tried out in advance.
MAX_COMBINATIONS = 256

Space = Mapping[str, Domain]


def check(base: TrainConfig, space: Space) -> None:
    """Refuse a space that no search could go through.

    Raises:
        ConfigError: It is empty (``TUNE-001``), names what is no setting (``TUNE-002``) or what
            cannot be varied (``TUNE-003``), or has values that are none (``TUNE-004``) or that the
            settings refuse (``TUNE-005``, ``TUNE-006``).
    """
    if not space:
        raise ConfigError("TUNE-001", where="tune.space")
    for key, domain in space.items():
        _check_name(key, space)
        reason = _what_is_wrong(domain)
        if reason:
            raise _refused("TUNE-004", key, values=_shown(domain), reason=reason)
    for key, domain in space.items():
        for value in domain.edges():
            _try(base, {key: value}, key)
    for values in combinations(space):
        _try(base, values)


def check_grid(space: Space) -> None:
    """Refuse values that are infinitely many.

    Raises:
        ConfigError: ``TUNE-007``.
    """
    for key, domain in space.items():
        if domain.points() is None:
            raise _refused("TUNE-007", key, form=domain.form)


def check_ranges(space: Space, sampler: str) -> None:
    """Refuse a space that is not made of at least two ranges.

    Raises:
        ConfigError: ``TUNE-008``.
    """
    chosen = [key for key, domain in space.items() if domain.form not in RANGES]
    if chosen or len(space) < 2:
        raise _refused("TUNE-008", (chosen or list(space))[0], sampler=sampler)


def _refused(code: str, key: str, **values: object) -> ConfigError:
    return ConfigError(code, where=f"tune.space.{key}", key=key, **values)


def _check_name(key: str, space: Space) -> None:
    parts = key.split(".")
    known = key.startswith(PREFIX) and len(parts) > 1 and places_at(TrainConfig, parts[1:])
    if not known:
        raise _refused("TUNE-002", key, hint=_hint(parts))
    # What trials are compared by must be the same for all.
    reason = text("tuning.compared") if key == f"{PREFIX}selection" else ""
    for other in space:
        if key.startswith(f"{other}."):
            reason = text("tuning.within", other=other)
    if reason:
        raise _refused("TUNE-003", key, reason=reason)


def _hint(parts: list[str]) -> str:
    """Return the closest name to the first part that is none."""
    if parts[0] != "train":
        # The name of a setting without the word before it is what most people forget.
        return closest(".".join(["train", *parts]), _whole(names_at(TrainConfig, ()), "train"))
    for end in range(1, len(parts)):
        names = names_at(TrainConfig, parts[1:end])
        if parts[end] not in names:
            return closest(".".join(parts), _whole(names, ".".join(parts[:end])))
    return closest("train", _whole(names_at(TrainConfig, ()), "train"))


def _whole(names: list[str], place: str) -> list[str]:
    return [f"{place}.{name}" for name in names]


def _what_is_wrong(domain: Domain) -> str:
    """Return why the values are none; nothing when they are sound."""
    if len(domain.forms) != 1:
        return text("tuning.one_form", forms=", ".join(FORMS))
    if domain.choices is not None:
        if not domain.choices:
            return text("tuning.no_choices")
        if domain.step is not None or domain.num is not None:
            return text("tuning.only_ranges")
        kept = [domain.encode(choice) for choice in domain.choices]
        return text("tuning.twice") if len(set(kept)) < len(kept) else ""
    return _wrong_range(domain)


def _wrong_range(domain: Domain) -> str:
    low, high = domain.bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return text("tuning.not_rising", low=low, high=high)
    if domain.form.startswith("log") and low <= 0:
        return text("tuning.log_of_zero", low=low)
    if domain.step is None:
        return ""
    if domain.form.startswith("log") or domain.num is not None:
        return text("tuning.no_step")
    if domain.form in WHOLE and not domain.step.is_integer():
        return text("tuning.whole_step", step=domain.step)
    return text("tuning.long_step", step=domain.step) if domain.step > high - low else ""


def _shown(domain: Domain) -> str:
    values = domain.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(values, default_flow_style=True, width=1000, allow_unicode=True).strip()


def _try(base: TrainConfig, values: Mapping[str, Any], key: str = "") -> None:
    """Lay values over the settings.

    Raises:
        ConfigError: They refuse one of them (``TUNE-005``), all together (``TUNE-006``), or it
            would change what is read (``TUNE-003``).
    """
    try:
        made = laid_over(base, values)
    except LLMwrightError as error:
        if key:
            raise _refused("TUNE-005", key, value=values[key], reason=error.message) from error
        shown = ", ".join(f"{name} = {value}" for name, value in values.items())
        where = "tune.space"
        raise ConfigError("TUNE-006", where=where, values=shown, reason=error.message) from error
    if list(inputs_of(made)) != list(inputs_of(base)):
        raise _refused("TUNE-003", key or next(iter(values)), reason=text("tuning.an_input"))


def combinations(space: Space) -> Iterator[dict[str, Any]]:
    """Yield combinations that show what a space allows: all choices, ends of ranges."""
    listed = {key: d.edges() for key, d in space.items() if d.choices is not None}
    ranges = {key: d.edges() for key, d in space.items() if d.choices is None}
    ends = [dict(zip(ranges, found, strict=True)) for found in zip(*ranges.values(), strict=True)]
    for values in itertools.islice(itertools.product(*listed.values()), MAX_COMBINATIONS):
        for end in ends or [{}]:
            yield dict(zip(listed, values, strict=True)) | end


def laid_over(base: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return the settings with some of them changed.

    Args:
        base: The settings.
        values: Dotted setting, ``train`` first → value.

    Raises:
        ConfigError: They do not accept a value.
    """
    # A kind before what is set about it: another optimizer takes the old one's settings away.
    whole = base.model_dump(mode="json")
    for key in sorted(values, key=lambda key: key.removesuffix(".kind").count(".")):
        one = layers.nested(key.removeprefix(PREFIX), values[key])
        whole = layers.merge(whole, one, partial(form_at, TrainConfig))
    return parse(TrainConfig, whole, "train")


def grid(space: Space, seed: int) -> list[dict[str, Any]]:
    """Return all combinations of finitely many values, as a study keeps them, shuffled.

    A part of the grid, where the budget ends before it does, is then spread over the whole of it.
    """
    points = {key: domain.points() or [] for key, domain in space.items()}
    found = [
        dict(zip(points, values, strict=True)) for values in itertools.product(*points.values())
    ]
    random.Random(f"grid:{seed}").shuffle(found)
    return found
