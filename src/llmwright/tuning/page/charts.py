"""The pictures of a search: its history, and each trial as a line through its settings."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmwright.evaluation.page.charts import WIDTH, label, shortened, svg
from llmwright.inference.page.markup import Markup, join, tag, words
from llmwright.tuning.record import StudyRecord, TrialRecord, shown

LEFT, RIGHT, TOP, BOTTOM = 64, 20, 16, 40
HISTORY_HEIGHT, PARALLEL_HEIGHT = 320.0, 400.0
NUM_TICKS = 5
MAX_NAMED_CHOICES = 12


@dataclass(frozen=True)
class Axis:
    """One upright axis.

    Attributes:
        name: What it shows.
        low: Its lower end; for names the first of them is there.
        high: Its upper end.
        log: Whether equal ratios have equal lengths.
        names: What stands at equal distances instead of numbers; empty for numbers.
    """

    name: str
    low: float
    high: float
    log: bool = False
    names: tuple[str, ...] = ()

    def share(self, value: Any) -> float:
        """Return where a value lies, 0 at the lower end and 1 at the upper one."""
        if self.names:
            return (self.names.index(json.dumps(value, sort_keys=True)) + 0.5) / len(self.names)
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (float(value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places of its marks and what is written there."""
        if self.names:
            values = [json.loads(name) for name in self.names[:MAX_NAMED_CHOICES]]
            return [(self.share(one), _short(one)) for one in values]
        shares = [i / (NUM_TICKS - 1) for i in range(NUM_TICKS)]
        if self.low == self.high:
            return [(0.5, f"{self.low:.4g}")]
        if self.log:
            ratio = self.high / self.low
            return [(share, f"{self.low * ratio**share:.2g}") for share in shares]
        return [(s, f"{self.low + (self.high - self.low) * s:.4g}") for s in shares]


def _short(value: Any) -> str:
    named = value.get("kind", value) if isinstance(value, dict) else value
    return str(named)


def value_axis(name: str, values: Sequence[float]) -> Axis:
    """Return an axis for what trials are compared by."""
    return Axis(name, min(values), max(values))


def setting_axis(key: str, domain: dict[str, Any]) -> Axis:
    """Return the axis of a setting, as long as its space."""
    if "choices" in domain:
        kept = tuple(json.dumps(choice, sort_keys=True) for choice in domain["choices"])
        return Axis(key, 0, 1, names=kept)
    form = next(name for name in ("float", "log", "int", "log_int") if name in domain)
    low, high = domain[form]
    return Axis(key, low, high, log=form.startswith("log"))


def history(record: StudyRecord) -> Markup:
    """Return the value of each trial and the best one so far."""
    drawn = [t for t in record.trials if t.value is not None and t.state in ("complete", "pruned")]
    axis = value_axis(record.goal.metric, [float(t.value or 0) for t in drawn])
    width, tall = WIDTH - LEFT - RIGHT, HISTORY_HEIGHT - TOP - BOTTOM
    last = max(2, len(record.trials))

    def place(trial: TrialRecord) -> tuple[float, float]:
        return LEFT + width * (trial.number - 1) / (last - 1), TOP + tall * (
            1 - axis.share(trial.value)
        )

    shapes = [_scale(axis, LEFT, tall, WIDTH - RIGHT)]
    for number in sorted({1 + round((last - 1) * i / 8) for i in range(9)}):
        x = LEFT + width * (number - 1) / (last - 1)
        shapes.append(label(x, HISTORY_HEIGHT - 24, str(number), "middle", "tick"))
    shapes.append(_best_line(record, place))
    for trial in drawn:
        x, y = place(trial)
        css = "best" if trial.number == record.best else trial.state
        note = tag("title", _note(trial))
        shapes.append(tag("circle", note, cx=x, cy=y, r=6 if css == "best" else 4, class_=css))
    middle = LEFT + width / 2
    below = tag(
        "g",
        words("tuning.page.trial", "text"),
        transform=f"translate({middle:g},{HISTORY_HEIGHT - 6:g})",
        text_anchor="middle",
        class_="axis",
    )
    return svg(WIDTH, HISTORY_HEIGHT, *shapes, below, title=words("tuning.page.history_chart"))


def _best_line(record: StudyRecord, place: Any) -> Markup:
    sign = 1 if record.goal.direction == "minimize" else -1
    points: list[tuple[float, float]] = []
    best = math.inf
    for trial in record.trials:
        if trial.state != "complete" or trial.value is None:
            continue
        x, y = place(trial)
        if points:
            points.append((x, points[-1][1]))
        if sign * trial.value < best:
            best = sign * trial.value
            points.append((x, y))
    points.append((WIDTH - RIGHT, points[-1][1]))
    return tag("path", d="M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points), class_="line c0")


def parallel(record: StudyRecord) -> Markup:
    """Return each complete trial as a line through its settings to its value, the best on top."""
    trials = [t for t in record.trials if t.state == "complete" and t.value is not None]
    axes = [setting_axis(key, domain) for key, domain in record.space.items()]
    axes.append(value_axis(record.goal.metric, [float(t.value or 0) for t in trials]))
    width = max(WIDTH, 150.0 * len(axes))
    span = (width - LEFT - 110) / (len(axes) - 1)
    tall = PARALLEL_HEIGHT - TOP - BOTTOM - 20
    shapes = []
    better = sorted(trials, key=lambda t: float(t.value or 0))
    if record.goal.direction == "minimize":
        better.reverse()
    for rank, trial in enumerate(better):
        found = [*(trial.values[axis.name] for axis in axes[:-1]), trial.value]
        points = [
            (LEFT + span * i, TOP + 20 + tall * (1 - axis.share(value)))
            for i, (axis, value) in enumerate(zip(axes, found, strict=True))
        ]
        is_best = trial.number == record.best
        # Good trials stand out: the worst is faint, the best has a colour of its own.
        strength = 0.12 + 0.6 * rank / max(1, len(better) - 1)
        path = tag(
            "path",
            tag("title", _note(trial)),
            d="M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points),
            class_="trial best" if is_best else "trial",
            stroke_opacity=1.0 if is_best else strength,
        )
        shapes.append(path)
    # Above the lines, so that its words stay legible.
    shapes += [_upright(axis, LEFT + span * i, tall) for i, axis in enumerate(axes)]
    return svg(width, PARALLEL_HEIGHT, *shapes, title=words("tuning.page.parallel_chart"))


def _scale(axis: Axis, left: float, tall: float, right: float) -> Markup:
    shapes = []
    for share, written in axis.ticks():
        y = TOP + tall * (1 - share)
        shapes.append(tag("line", x1=left, y1=y, x2=right, y2=y, class_="grid"))
        shapes.append(label(left - 8, y + 4, written, "end", "tick"))
    return join(*shapes)


def _upright(axis: Axis, x: float, tall: float) -> Markup:
    top = TOP + 20
    shapes = [tag("line", x1=x, y1=top, x2=x, y2=top + tall, class_="upright")]
    for share, written in axis.ticks():
        y = top + tall * (1 - share)
        shapes.append(tag("line", x1=x, y1=y, x2=x + 5, y2=y, class_="upright"))
        shapes.append(label(x + 8, y + 4, shortened(written, 12), "start", "tick over"))
    name = shortened(axis.name.removeprefix("train."), 20)
    shapes.append(label(x, PARALLEL_HEIGHT - 12, name, "middle", "value"))
    return join(*shapes)


def _note(trial: TrialRecord) -> str:
    settings = ", ".join(f"{key} = {shown(value)}" for key, value in trial.values.items())
    return f"{trial.number}: {trial.value:.4g} | {settings}"
