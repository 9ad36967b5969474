"""The parts of the page, each made from one part of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmwright.core import locale
from llmwright.evaluation.page.charts import Bar, Line, bars, columns, interval_text, lines
from llmwright.evaluation.page.heatmap import heat_map
from llmwright.evaluation.page.sentences import words
from llmwright.evaluation.report import Figure, Report, ScoredRow
from llmwright.inference.page.markup import Markup, both, join, number, tag

MAX_EXAMPLES = 50
MAX_UNSCORED = 50
MAX_CLASS_BARS = 100
# A matrix of more labels needs the whole width to be read.
MAX_LABELS_BESIDE = 8
MAX_TEXT = 600


def gate(report: Report) -> Markup:
    """Return the gate's verdict, or nothing without a gate."""
    if not report.verdicts:
        return Markup()
    rows = [
        tag("li", "✓ " if v.passed else "✗ ", f"{v.condition} ({number(v.value)})")
        for v in report.verdicts
    ]
    css = "good" if report.passed else "bad"
    verdict = words("gate_passed" if report.passed else "gate_failed")
    return tag("div", verdict, tag("ul", *rows), class_=f"gate {css}")


def tiles(report: Report) -> Markup:
    """Return one tile per metric."""
    return tag("div", *(_tile(figure) for figure in report.figures), class_="tiles")


def _tile(figure: Figure) -> Markup:
    scale = figure.scale
    if figure.low is None or figure.high is None:
        interval = words("no_interval")
    else:
        interval = Markup(f"{number(figure.low, scale)} – {number(figure.high, scale)}")
    direction = words("higher_better" if figure.higher_is_better else "lower_better")
    return tag(
        "div",
        tag("div", figure.name, class_="name"),
        tag("div", number(figure.value, scale), class_="figure"),
        tag("div", interval, class_="range"),
        tag("div", direction, class_="range"),
        class_="tile",
    )


def notes(report: Report) -> Markup:
    """Return the sentences a reader must know, and the rows without a score."""
    items = [tag("li", both(note.text)) for note in report.notes]
    if not items and not report.unscored:
        return Markup()
    rows = [
        tag("tr", _place(row.source, row.row), tag("td", row.reason, class_="text"))
        for row in report.unscored[:MAX_UNSCORED]
    ]
    table = Markup()
    if rows:
        count = words("unscored", shown=len(rows), num_rows=len(report.unscored))
        table = tag("details", tag("summary", count), _table(["where", "reason"], rows))
    return _section("notes", tag("ul", *items, class_="notes"), table)


def metric_bars(report: Report) -> Markup:
    """Return all metrics with an upper bound on one scale, and how each was computed."""
    rows = [
        Bar(
            f.name,
            # A correlation below 0 is no bar to the left.
            max(0.0, f.value / f.scale),
            _share(f.low, f.scale),
            _share(f.high, f.scale),
            _interval(f),
        )
        for f in report.figures
        if f.scale and f.value is not None
    ]
    chart = bars(rows, words("metrics_chart")) if rows else Markup()
    table = [
        tag(
            "tr",
            tag("td", tag("b", figure.name), _meaning(figure.name)),
            tag("td", _interval(figure), class_="num"),
            tag("td", str(figure.num_resamples or "—"), class_="num"),
            tag("td", tag("code", figure.signature)),
        )
        for figure in report.figures
    ]
    head = ["metric", "value.num", "resamples.num", "signature"]
    return _section("metrics", chart, _details("how_computed", _table(head, table)))


def _meaning(name: str) -> Markup:
    """Return what a built-in metric means; nothing for a plugin's."""
    key = f"evaluation.metric.{name}"
    if key not in locale.catalogue("en", "evaluation")["text"]:
        return Markup()
    return both(lambda lang: locale.text(key, lang), "div", class_="soft")


def classes(report: Report) -> Markup:
    """Return the labels' F1 as bars, weakest first, and a table of all their figures."""
    found = sorted(
        (c for c in report.classes if c.support or c.predicted), key=lambda c: (c.f1, c.label)
    )
    if not found:
        return Markup()
    rows = [
        Bar(c.label, c.f1, c.low, c.high, interval_text(c.f1, c.low, c.high))
        for c in found[:MAX_CLASS_BARS]
    ]
    table = [
        tag(
            "tr",
            tag("td", c.label),
            *(tag("td", number(v), class_="num") for v in (c.precision, c.recall, c.f1)),
            *(tag("td", str(v), class_="num") for v in (c.support, c.predicted)),
        )
        for c in found
    ]
    head = ["label", "precision.num", "recall.num", "f1.num", "support.num", "predicted.num"]
    chart = bars(rows, words("classes_chart"))
    if len(rows) > 20:
        chart = tag("div", chart, class_="scroll")
    return _section("classes", chart, _details("all_classes", _table(head, table)))


def confusion(report: Report) -> Markup:
    """Return the confusion matrix and the most frequent confusions."""
    if report.confusion is None:
        return Markup()
    rows = [
        tag(
            "tr",
            tag("td", m.reference),
            tag("td", tag("span", m.prediction, class_="wrong")),
            tag("td", str(m.count), class_="num"),
            tag("td", f"{m.share:.1%}", class_="num"),
        )
        for m in report.mixups
    ]
    head = ["reference", "prediction", "count.num", "share.num"]
    picture = heat_map(report.confusion, words("confusion_chart"))
    table = tag("div", tag("p", words("mixups"), class_="soft"), _table(head, rows))
    if len(report.confusion.labels) > MAX_LABELS_BESIDE:
        return _section("confusion", picture, table if rows else Markup())
    return _section("confusion", tag("div", picture, table if rows else Markup(), class_="pair"))


def curves(report: Report) -> Markup:
    """Return ROC and precision-recall curves side by side."""
    if not report.roc and not report.pr:
        return Markup()
    drawn = {
        kind: [Line(f"{number(c.area)} {c.label}", c.x, c.y) for c in found]
        for kind, found in (("roc", report.roc), ("pr", report.pr))
    }
    return _section(
        "curves",
        tag(
            "div",
            lines(drawn["roc"], words("roc_chart"), "false_rate", "true_rate", diagonal=True),
            lines(drawn["pr"], words("pr_chart"), "recall_axis", "precision_axis"),
            class_="pair",
        ),
    )


def behaviour(report: Report) -> Markup:
    """Return right answers by confidence, quality by input length, and the spread of quality."""
    charts = []
    if report.calibration:
        charts.append(
            columns(
                report.calibration,
                words("calibration_chart"),
                "confidence_axis",
                "right_axis",
                diagonal=True,
            )
        )
    if report.quality:
        charts.append(
            columns(
                report.quality,
                words("quality_chart"),
                "score_axis",
                "rows_axis",
                heights="num_rows",
            )
        )
    if report.lengths:
        charts.append(columns(report.lengths, words("lengths_chart"), "length_axis", "score_axis"))
    return _section("behaviour", tag("div", *charts, class_="pair")) if charts else Markup()


def examples(rows: Sequence[ScoredRow]) -> Markup:
    """Return the rows most worth reading: confident mistakes, or the lowest scores."""
    sure = any(row.confidence is not None for row in rows)
    wrong = [row for row in rows if row.correct is False or (row.score or 0) < 1]
    worst = sorted(wrong, key=lambda r: -(r.confidence or 0) if sure else (r.score or 0))
    parts = []
    for key, chosen in (("mistakes", worst), ("successes", [r for r in rows if r.correct])):
        if chosen:
            shown = [_example(row) for row in chosen[:MAX_EXAMPLES]]
            head = [
                "where",
                "input",
                "reference",
                "prediction",
                "confidence.num" if sure else "score.num",
            ]
            count = words(key, shown=len(shown), num_rows=len(chosen))
            table = _table(head, shown)
            parts.append(
                join(tag("p", count, class_="soft"), table)
                if key == "mistakes"
                else tag("details", tag("summary", count), table)
            )
    return _section("examples", *parts) if parts else Markup()


def _example(row: ScoredRow) -> Markup:
    css = {True: "right", False: "wrong", None: None}[row.correct]
    value = row.score if row.confidence is None else row.confidence
    return tag(
        "tr",
        _place(row.source, row.row),
        tag("td", _text(row.input), class_="text"),
        tag("td", _text(row.reference), class_="text"),
        tag("td", tag("span", _text(row.prediction), class_=css), class_="text"),
        tag("td", number(value), class_="num"),
    )


def _text(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return number(value, None)
    text = value if isinstance(value, str) else " ".join(map(str, value))
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _place(source: str, row: int) -> Markup:
    return tag("td", f"{source.rsplit('/', 1)[-1]}:{row}", title=source, class_="where")


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return number(figure.value, figure.scale)
    ends = f"{number(figure.low, figure.scale)}–{number(figure.high, figure.scale)}"
    return f"{number(figure.value, figure.scale)} [{ends}]"


def _share(value: float | None, scale: float) -> float | None:
    return None if value is None else max(0.0, value / scale)


def _table(head: list[str], rows: list[Markup]) -> Markup:
    """Return a table; a column named ``key.num`` is set as numbers."""
    cells = []
    for column in head:
        key, _, kind = column.partition(".")
        cells.append(tag("th", words(key), class_=kind or None))
    table = tag("table", tag("thead", tag("tr", *cells)), tag("tbody", *rows))
    return tag("div", table, class_="scroll")


def _details(key: str, *children: Markup) -> Markup:
    return tag("details", tag("summary", words(key)), *children)


def _section(key: str, *children: Markup) -> Markup:
    return tag(
        "section", tag("h2", words(key)), tag("p", words(f"{key}_help"), class_="soft"), *children
    )
