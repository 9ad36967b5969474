"""The whole page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from llmwright.core import locale
from llmwright.evaluation.page import sections
from llmwright.evaluation.page.sentences import words
from llmwright.evaluation.report import Report, ScoredRow
from llmwright.inference.page.frame import framed
from llmwright.inference.page.markup import tag


def build_page(report: Report, rows: Sequence[ScoredRow], lang: locale.Language) -> str:
    """Return the page.

    Args:
        report: What was found.
        rows: All evaluated rows; the page shows the most telling.
        lang: The language it opens in; a button shows the other.
    """
    model, dataset = report.model, report.dataset
    facts = [
        (words("model"), str(model["id"])),
        (words("task"), str(model["task"])),
        (words("parameters"), f"{model['num_parameters']:,}"),
        (words("dataset"), str(dataset["id"])),
        (words("split"), report.split),
        (words("rows"), f"{report.num_scored:,} / {report.num_rows:,}"),
    ]
    parts = [
        sections.gate(report),
        sections.tiles(report),
        sections.notes(report),
        sections.metric_bars(report),
        sections.classes(report),
        sections.confusion(report),
        sections.curves(report),
        sections.behaviour(report),
        sections.examples(rows),
        tag("footer", words("footer")),
    ]
    style = resources.files("llmwright.evaluation.page").joinpath("charts.css").read_text("utf-8")
    return framed("evaluation.page.title", facts, parts, lang, style)
