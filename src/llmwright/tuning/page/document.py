"""The page of a study: one file that needs nothing else."""

from __future__ import annotations

from importlib import resources

import yaml

from llmwright.core import locale
from llmwright.evaluation.page.charts import Bar, bars
from llmwright.inference.page.frame import framed
from llmwright.inference.page.markup import Markup, number, tag, words
from llmwright.tuning.page import charts
from llmwright.tuning.record import StudyRecord, TrialRecord, shown


def build_page(record: StudyRecord, lang: locale.Language) -> str:
    """Return the page.

    Args:
        record: What was found.
        lang: The language it opens in; a button shows the other.
    """
    counts = " / ".join(str(record.num(state)) for state in ("complete", "pruned", "failed"))
    facts = [
        (words("tuning.page.model"), record.model),
        (words("tuning.page.goal"), f"{record.goal.metric} ({record.goal.direction})"),
        (words("tuning.page.counts"), counts),
        (words("tuning.page.sampler"), str(record.sampler["kind"])),
        (words("tuning.page.pruner"), str(record.pruner["kind"])),
        (words("tuning.page.folds"), str(record.num_folds or "—")),
    ]
    parts = [_best(record), _section("history", charts.history(record)), _importances(record)]
    parts += [_section("parallel", charts.parallel(record)), _trials(record)]
    style = "".join(
        resources.files(package).joinpath("charts.css").read_text("utf-8")
        for package in ("llmwright.evaluation.page", "llmwright.tuning.page")
    )
    return framed("tuning.page.title", facts, parts, lang, style)


def _best(record: StudyRecord) -> Markup:
    best = record.best_trial
    tiles = [
        tag(
            "div",
            tag("div", name, class_="name"),
            tag("div", number(value), class_="figure"),
            class_="tile",
        )
        for name, value in best.metrics.items()
        if name != "step" and "/" not in name
    ]
    rows = [
        tag("tr", tag("td", key), tag("td", tag("code", shown(value))))
        for key, value in best.values.items()
    ]
    table = _table(["setting", "value"], rows)
    whole = yaml.safe_dump({"train": best.config}, allow_unicode=True, sort_keys=False)
    settings = tag("details", tag("summary", words("tuning.page.all_settings")), tag("pre", whole))
    return _section("best", tag("div", *tiles, class_="tiles"), table, settings)


def _importances(record: StudyRecord) -> Markup:
    if not record.importances:
        return _section("importances", tag("p", words("tuning.page.too_few")))
    rows = [
        Bar(key, share, None, None, f"{share:.0%}") for key, share in record.importances.items()
    ]
    return _section("importances", bars(rows, words("tuning.page.importances_chart")))


def _trials(record: StudyRecord) -> Markup:
    sign = 1 if record.goal.direction == "minimize" else -1

    def rank(trial: TrialRecord) -> tuple[bool, float, int]:
        done = trial.state == "complete" and trial.value is not None
        return not done, sign * trial.value if done and trial.value else 0.0, trial.number

    keys = list(record.space)
    rows = [_row(trial, keys) for trial in sorted(record.trials, key=rank)]
    head = ["trial.num", "state", "value.num", *(f"={key}" for key in keys), "error"]
    return _section("trials", _table(head, rows))


def _row(trial: TrialRecord, keys: list[str]) -> Markup:
    return tag(
        "tr",
        tag("td", str(trial.number), class_="num"),
        tag("td", words(f"tuning.page.{trial.state}")),
        tag("td", number(trial.value), class_="num", title=_folds(trial)),
        *(tag("td", shown(trial.values[k]) if k in trial.values else "—") for k in keys),
        tag("td", trial.error, class_="text"),
    )


def _folds(trial: TrialRecord) -> str | None:
    return " · ".join(number(value) for value in trial.folds) if trial.folds else None


def _table(head: list[str], rows: list[Markup]) -> Markup:
    """Return a table; a column ``key.num`` is set as numbers, ``=name`` is a name as it stands."""
    cells = []
    for column in head:
        if column.startswith("="):
            cells.append(tag("th", column[1:]))
            continue
        key, _, kind = column.partition(".")
        cells.append(tag("th", words(f"tuning.page.{key}"), class_=kind or None))
    table = tag("table", tag("thead", tag("tr", *cells)), tag("tbody", *rows))
    return tag("div", table, class_="scroll")


def _section(key: str, *children: Markup) -> Markup:
    return tag(
        "section",
        tag("h2", words(f"tuning.page.{key}")),
        tag("p", words(f"tuning.page.{key}_help"), class_="soft"),
        *children,
    )
