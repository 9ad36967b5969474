"""The interface of a metric: a number from outcomes, and how to resample it quickly.

Three levels, from least to most work for the author:

- a plain function ``(predictions, references) -> float``: `FunctionMetric` wraps it;
- a `Metric`: any number from `Outcomes`;
- a `RowMetric`: a function of sums over rows. Its bootstrap is one matrix product.

Shapes: N rows, R resamples, S statistics per row.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from llmwright.core.errors import InputError, LLMwrightError
from llmwright.evaluation.outcomes import FloatArray, Outcomes


class Metric(ABC):
    """A named figure computed from outcomes.

    Attributes:
        name: Registered name; also the key in the report and in a gate.
        needs: Any one of these must be what `Outcomes.offers` (form of the answers).
        also: All of these must be offered too: scores, log_probs, bytes.
        higher_is_better: Direction of improvement.
        scale: Largest value, 1 or 100 where there is one; None without a bound.
    """

    name: str = ""
    needs: ClassVar[frozenset[str]] = frozenset({"label", "labels", "tags", "text"})
    also: ClassVar[frozenset[str]] = frozenset()
    higher_is_better: bool = True
    scale: float | None = 1.0

    @abstractmethod
    def __call__(self, outcomes: Outcomes) -> float:
        """Return the value over all rows; NaN where it is undefined."""

    def resample(self, outcomes: Outcomes, weights_RN: FloatArray) -> FloatArray | None:
        """Return the value in R resamples, or None when only `__call__` can say it.

        Args:
            outcomes: The N rows.
            weights_RN: How often each row was drawn in each resample.
        """
        return None

    def obstacle(self, outcomes: Outcomes) -> str | None:
        """Return the key of the sentence that says why these outcomes cannot be measured."""
        if not self.needs & outcomes.offers:
            return "evaluation.obstacle.form"
        if not self.also <= outcomes.offers:
            return "evaluation.obstacle.also"
        return None

    def signature(self, outcomes: Outcomes) -> str:
        """Return library, version and settings, so that the figure can be repeated."""
        return ""


class RowMetric(Metric):
    """A metric that is a function of sums of row statistics."""

    @abstractmethod
    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return statistics_NS, of which only the sum over rows matters."""

    @abstractmethod
    def from_sums(self, sums_RS: FloatArray) -> FloatArray:
        """Return the value of R resamples from their summed statistics."""

    def __call__(self, outcomes: Outcomes) -> float:
        """Return the value over all rows; NaN where it is undefined."""
        sums_S = self._statistics(outcomes).sum(axis=0)
        return float(self.from_sums(sums_S[None, :])[0])

    def resample(self, outcomes: Outcomes, weights_RN: FloatArray) -> FloatArray:
        """Return the value in R resamples."""
        return self.from_sums(weights_RN @ self._statistics(outcomes))

    def _statistics(self, outcomes: Outcomes) -> FloatArray:
        return outcomes.remember(f"rows:{self.name}", lambda: self.row_statistics(outcomes))


class MeanMetric(RowMetric):
    """The mean of one value per row."""

    @abstractmethod
    def row_values(self, outcomes: Outcomes) -> FloatArray:
        """Return values_N."""

    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return each row's value and 1."""
        values_N = self.row_values(outcomes)
        return np.stack([values_N, np.ones_like(values_N)], axis=1)

    def from_sums(self, sums_RS: FloatArray) -> FloatArray:
        """Return sum over count."""
        return ratio(sums_RS[:, 0], sums_RS[:, 1], undefined=np.nan)


class FunctionMetric(Metric):
    """A plain function ``(predictions, references) -> float`` as a metric.

    The function may carry the attributes ``needs`` (a set of forms) and ``higher_is_better``.
    """

    def __init__(self, name: str, function: Callable[[Any, Any], float]) -> None:
        self.name = name
        self.function = function
        self.higher_is_better = bool(getattr(function, "higher_is_better", True))
        self.scale = None

    def __call__(self, outcomes: Outcomes) -> float:
        """Return what the function returns."""
        return float(self.function(list(outcomes.predictions), list(outcomes.references)))

    def obstacle(self, outcomes: Outcomes) -> str | None:
        """Return why not, by the function's own ``needs`` where it has them."""
        needs = frozenset(getattr(self.function, "needs", self.needs))
        return None if needs & outcomes.offers else "evaluation.obstacle.form"

    def signature(self, outcomes: Outcomes) -> str:
        """Return the function's module and name."""
        return f"plugin|{getattr(self.function, '__module__', '')}:{self.name}"


def as_metric(name: str, found: object) -> Metric:
    """Return a registered thing as a metric: an instance, a class or a plain function.

    Raises:
        InputError: It is none of these (``EVAL-004``).
    """
    if isinstance(found, type) and issubclass(found, Metric):
        found = found()
    if isinstance(found, Metric):
        found.name = found.name or name
        return found
    if callable(found) and not isinstance(found, type):
        return FunctionMetric(name, found)
    raise InputError("EVAL-004", name=name, found=type(found).__name__)


@contextlib.contextmanager
def blamed(metric: Metric) -> Iterator[None]:
    """Say which metric failed, and how, when a plugin's code does.

    Raises:
        InputError: A metric that is not built in raised anything (``EVAL-010``).
    """
    built_in = type(metric).__module__.startswith("llmwright.") and not isinstance(
        metric, FunctionMetric
    )
    try:
        yield
    except LLMwrightError:
        raise
    except Exception as error:
        if built_in:
            raise
        reason = f"{type(error).__name__}: {error}"
        raise InputError("EVAL-010", name=metric.name, reason=reason) from error


def ratio(above: FloatArray, below: FloatArray, undefined: float) -> FloatArray:
    """Return ``above / below``, and ``undefined`` where ``below`` is 0."""
    full = np.full(np.broadcast_shapes(above.shape, below.shape), undefined, dtype=np.float64)
    return np.divide(above, below, out=full, where=np.broadcast_to(below != 0, full.shape))
