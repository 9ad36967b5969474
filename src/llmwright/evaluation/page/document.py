"""The whole page: one file that needs nothing else, in two languages, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from llmwright.core import locale
from llmwright.evaluation.page import sections
from llmwright.evaluation.page.markup import Markup, tag, words
from llmwright.evaluation.report import Report, ScoredRow


def build_page(report: Report, rows: Sequence[ScoredRow], lang: locale.Language) -> str:
    """Return the page.

    Args:
        report: What was found.
        rows: All evaluated rows; the page shows the most telling.
        lang: The language it opens in; a button shows the other.
    """
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", locale.text("evaluation.page.title", lang) + f" · {report.model['id']}"),
        tag("style", _file("style.css")),
    )
    body = tag(
        "body",
        tag(
            "main",
            _header(report),
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
        ),
        tag("script", _file("switch.js")),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang=lang, data_lang=lang)


def _header(report: Report) -> Markup:
    model, dataset = report.model, report.dataset
    facts = [
        (words("model"), str(model["id"])),
        (words("task"), str(model["task"])),
        (words("parameters"), f"{model['num_parameters']:,}"),
        (words("dataset"), str(dataset["id"])),
        (words("split"), report.split),
        (words("rows"), f"{report.num_scored:,} / {report.num_rows:,}"),
    ]
    chips = [tag("li", name, " ", tag("b", value)) for name, value in facts]
    return tag(
        "header",
        tag("div", tag("h1", words("title")), tag("ul", *chips, class_="chips")),
        tag(
            "div",
            # Each language names the other, so a reader of either finds the button.
            tag(
                "button",
                Markup('<span lang="en">中文</span><span lang="zh">English</span>'),
                id="language",
                type="button",
            ),
            tag("button", words("theme"), id="theme", type="button"),
            class_="switches",
        ),
    )


def _file(name: str) -> Markup:
    return Markup(resources.files("llmwright.evaluation.page").joinpath(name).read_text("utf-8"))
