"""The parity table as one self-contained page."""

from __future__ import annotations

import html
import json
from typing import Any

from llmwright.core.locale import language, text
from llmwright.inference.parity import Check, ParityTable

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #c62828; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; vertical-align: top; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
"""


def parity_page(table: ParityTable, target: str) -> str:
    """Return the page, in the user's language."""
    verdict = "passed" if table.passed else "failed"
    facts = text(
        "inference.page_facts",
        engine=table.engine,
        number_format=table.number_format or "-",
        done=table.num_probes,
        total=table.num_recorded,
    )
    parts = [
        f'<!doctype html><html lang="{language()}"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text('inference.page_title')}</title><style>{STYLE}</style>",
        f"<h1>{_text('inference.page_title')}</h1>",
        f"<p><code>{html.escape(target)}</code></p>",
        f'<p class="{"good" if table.passed else "bad"}">{_text(f"inference.page_{verdict}")}</p>',
        f"<p>{html.escape(facts)}</p>",
        _table(["what", "found", "accepted", "verdict"], [_row(check) for check in table.checks]),
    ]
    if table.differences:
        parts.append(f"<h2>{_text('inference.page_differences')}</h2>")
        rows = [
            [_json(d["row"]), _json(d["expected"]), _json(d["found"])] for d in table.differences
        ]
        parts.append(_table(["input", "recorded", "found"], rows))
    return "\n".join(parts) + "\n"


def _text(key: str) -> str:
    return html.escape(text(key))


def _row(check: Check) -> list[str]:
    verdict = "good" if check.passed else "bad"
    mark = _text("inference.page_ok" if check.passed else "inference.page_not_ok")
    return [
        _text(f"inference.check_{check.name}"),
        html.escape(shown(check.value)),
        html.escape(shown(check.limit)),
        f'<span class="{verdict}">{mark}</span>',
    ]


def shown(value: Any) -> str:
    """Return a value for people: numbers short, long facts cut."""
    if isinstance(value, float):
        return f"{value:.3g}"
    found = str(value)
    return found if len(found) <= 120 else found[:117] + "..."


def _json(value: Any) -> str:
    return html.escape(json.dumps(value, ensure_ascii=False)[:500])


def _table(headings: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{_text(f'inference.page_{name}')}</th>" for name in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
