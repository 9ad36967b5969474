"""Conditions a model must meet: ``{"accuracy": ">= 0.9"}``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmwright.core.errors import ConfigError

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Condition:
    """One line of a gate.

    Attributes:
        metric: Name of the figure.
        sign: ``>=``, ``>``, ``<=`` or ``<``.
        bound: What it is compared with.
    """

    metric: str
    sign: str
    bound: float

    def holds(self, value: float | None) -> bool:
        """Say whether a value meets the condition; an undefined value never does."""
        if value is None or math.isnan(value):
            return False
        return _COMPARE[self.sign](value, self.bound)

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.bound:g}"


def parse_gate(gate: Mapping[str, str], scales: Mapping[str, float | None]) -> list[Condition]:
    """Return the conditions of a gate; ``"90 %"`` is that share of the metric's largest value.

    Args:
        gate: Metric → sign and number.
        scales: Metric → its largest value; None where it has none.

    Raises:
        ConfigError: A condition is not a sign and a number (``EVAL-001``), is a percentage of a
            metric without a largest value (``EVAL-011``), or is above that value, so that it says
            nothing (``EVAL-012``).
    """
    found = []
    for metric, text in gate.items():
        sign, number, percent = read_condition(metric, text)
        scale = scales[metric]
        if percent and scale is None:
            raise ConfigError("EVAL-011", metric=metric, condition=text)
        bound = number * scale / 100 if percent and scale is not None else number
        if scale is not None and bound > scale:
            meant = f"{sign} {min(number, 100):g} %"
            raise ConfigError(
                "EVAL-012", metric=metric, condition=text, scale=f"{scale:g}", meant=meant
            )
        found.append(Condition(metric, sign, bound))
    return found


def read_condition(metric: str, text: str) -> tuple[str, float, bool]:
    """Return the sign and number of one condition, and whether it is a percentage.

    Raises:
        ConfigError: It is not a sign and a number (``EVAL-001``).
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError("EVAL-001", metric=metric, condition=text)
    sign, number, percent = match.groups()
    return sign, float(number), bool(percent)
