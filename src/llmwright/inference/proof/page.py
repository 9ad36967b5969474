"""The parity table as one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmwright.core import locale
from llmwright.inference.page.frame import framed
from llmwright.inference.page.markup import Markup, tag, words
from llmwright.inference.proof.parity import Check, ParityTable

MAX_SHOWN = 120
MAX_ROW_SHOWN = 500


def parity_page(table: ParityTable, target: str, lang: locale.Language) -> str:
    """Return the page.

    Args:
        table: What was found.
        target: What was checked, in words.
        lang: The language it opens in.
    """
    facts = [
        (_words("target"), target),
        (_words("engine"), table.engine),
        (_words("number_format"), table.number_format or "–"),
        (_words("probes"), f"{table.num_probes} / {table.num_recorded}"),
    ]
    verdict, mark = ("passed", "good") if table.passed else ("failed", "bad")
    if table.not_verified:
        verdict = "not_verified"
        facts.append((_words("reason"), table.not_verified))
    checks = _table(["what", "found", "accepted", "verdict"], [_row(c) for c in table.checks])
    parts = [tag("div", _words(verdict), class_=f"gate {mark}"), tag("section", checks)]
    if table.differences:
        rows = [[_json(d[key]) for key in ("row", "expected", "found")] for d in table.differences]
        differing = _table(["input", "recorded", "found"], rows)
        parts.append(tag("section", tag("h2", _words("differences")), differing))
    return framed("inference.page_title", facts, parts, lang)


def shown(value: Any) -> str:
    """Return a value for people: numbers short, long facts cut, a dash for nothing."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if value in ("", []):
        return "–"
    found = str(value)
    return found if len(found) <= MAX_SHOWN else found[: MAX_SHOWN - 3] + "..."


def _words(key: str) -> Markup:
    return words(f"inference.page_{key}")


def _row(check: Check) -> list[str]:
    verdict, mark = ("right", "ok") if check.passed else ("wrong", "not_ok")
    return [
        words(f"inference.check_{check.name}"),
        shown(check.value),
        shown(check.limit),
        tag("span", _words(mark), class_=verdict),
    ]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:MAX_ROW_SHOWN]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = tag("thead", tag("tr", *(tag("th", _words(name)) for name in headings)))
    lines = [tag("tr", *(tag("td", cell, class_="text") for cell in row)) for row in rows]
    return tag("div", tag("table", head, tag("tbody", *lines)), class_="scroll")
