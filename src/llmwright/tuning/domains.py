"""The values that one varied setting may take, as people write them in a space."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field

from llmwright.core.config import Config

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# What says which values may be taken; exactly one of them is given.
FORMS = ("choices", "float", "log", "int", "log_int")
RANGES = FORMS[1:]
WHOLE = ("int", "log_int")


class Domain(Config):
    """The values of one setting: a list of choices, or a range."""

    # The names that people write are names of Python's types.
    model_config = ConfigDict(serialize_by_alias=True)

    choices: list[Any] | None = None
    """These values and no others; a value may be a mapping, as for an optimizer with settings."""
    float_: tuple[float, float] | None = Field(None, alias="float")
    """Any number from the first to the second, all equally likely."""
    log: tuple[float, float] | None = None
    """Any number from the first to the second, each order of magnitude equally likely: for learning
    rates and weight decay."""
    int_: tuple[int, int] | None = Field(None, alias="int")
    """Whole numbers from the first to the second, both included."""
    log_int: tuple[int, int] | None = None
    """Whole numbers, each order of magnitude equally likely: for sizes."""
    step: float | None = Field(None, gt=0)
    """Distance between the values of `float` and `int`; any number, or 1, when not given."""
    num: int | None = Field(None, ge=2)
    """For the sampler `grid`: how many values of a range to try, its ends included."""

    @property
    def forms(self) -> list[str]:
        """The forms that are given; a sound domain has exactly one."""
        return [name for name in FORMS if self._of(name) is not None]

    @property
    def form(self) -> str:
        """The form in which the values are given."""
        return self.forms[0]

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of a range."""
        low, high = self._of(self.form)
        return low, high

    def _of(self, form: str) -> Any:
        return getattr(self, f"{form}_" if form in ("float", "int") else form)

    def edges(self) -> list[Any]:
        """Return the values that a config must accept for it to accept all: the ends of a range."""
        return list(self.choices) if self.choices is not None else list(self.bounds)

    def encode(self, value: Any) -> Any:
        """Return a value as a study keeps it: choices may be anything, so as JSON."""
        return json.dumps(value, sort_keys=True) if self.choices is not None else value

    def decode(self, kept: Any) -> Any:
        """Return the value that `encode` made this of."""
        return json.loads(kept) if self.choices is not None else kept

    def distribution(self) -> BaseDistribution:
        """Return the domain as Optuna has it."""
        from optuna import distributions

        if self.choices is not None:
            return distributions.CategoricalDistribution([self.encode(c) for c in self.choices])
        (low, high), log = self.bounds, self.form.startswith("log")
        if self.step is not None:
            # The last value that the steps reach.
            high = (self.points() or [high])[-1]
        if self.form in WHOLE:
            step = int(self.step or 1)
            return distributions.IntDistribution(int(low), int(high), log=log, step=step)
        return distributions.FloatDistribution(low, high, log=log, step=self.step)

    def points(self) -> list[Any] | None:
        """Return the values on a grid as a study keeps them; None where they are infinitely many.

        Without `num` these are all choices, all whole numbers, and all steps of a range with steps.
        """
        if self.choices is not None:
            return [self.encode(choice) for choice in self.choices]
        low, high = self.bounds
        if self.num is not None:
            return self._spread(low, high, self.num)
        step = self.step or (1 if self.form in WHOLE else None)
        if step is None:
            return None
        # Rounded first: 0.3 / 0.1 is a little less than 3 in binary.
        count = int(round((high - low) / step, 9)) + 1
        values = [low + step * i for i in range(count)]
        return [int(v) if self.form in WHOLE else round(v, 12) for v in values]

    def _spread(self, low: float, high: float, count: int) -> list[Any]:
        shares = [i / (count - 1) for i in range(count)]
        if self.form.startswith("log"):
            values = [low * math.exp(share * math.log(high / low)) for share in shares]
        else:
            values = [low + (high - low) * share for share in shares]
        if self.form in WHOLE:
            return sorted({min(int(high), max(int(low), round(v))) for v in values})
        # The ends exactly: they are the user's own numbers.
        return [low, *(float(f"{v:.6g}") for v in values[1:-1]), high]


def flat_space(values: Any) -> Any:
    """Return a space with one entry per setting, however its keys are nested.

    ``{train: {lr: {log: [1, 2]}}}``, as the command line gives it, is ``{"train.lr": {log: ...}}``;
    what comes later wins.
    """
    if not isinstance(values, Mapping):
        return values
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping) and value and not _names_a_form(value)
        entries = flat_space(value) if inner else None
        if entries and all(isinstance(entry, Mapping | Domain) for entry in entries.values()):
            found |= {f"{key}.{name}": entry for name, entry in entries.items()}
        else:
            found[str(key)] = value
    return found


def _names_a_form(value: Mapping[str, Any]) -> bool:
    return any(str(name) in (*FORMS, "step", "num") for name in value)
