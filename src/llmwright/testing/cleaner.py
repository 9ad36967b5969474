"""What every cleaner must do: call `check_cleaner` in the tests of yours.

    from llmwright.testing.cleaner import check_cleaner

    def test_my_cleaner() -> None:
        check_cleaner(MyCleaner(), idempotent=True)

Each check raises AssertionError with what it saw. Nothing here needs a test runner.
"""

from __future__ import annotations

import copy
import json
import pickle
import unicodedata
from typing import Any

from llmwright.data.clean import preprocess
from llmwright.data.cleaners import Cleaner
from llmwright.data.config import CLEANERS

# Texts that have broken cleaners before.
ODD_TEXTS = (
    "",
    " ",
    "\n\n\t \r\n\r",
    "plain text, nothing odd",
    "今天天气很好。　全角空格，ＡＢＣ１２３",
    "e\u0301 and \u00e9, ﬁ ligature, ½, ㎏, ①",
    "İstanbul ıI ß ẞ ſ",
    "👩‍👩‍👧‍👦 🇨🇳 👍🏽 ☺️",
    "עברית العربية \u202eright to left\u202c",
    "ด้ำ नमस्ते 각 ㄱㅏ",
    "zero\u200bwidth \ufeffbom soft\u00adhyphen nbsp\u00a0thin\u2009",
    "null\x00 bell\x07 escape\x1b[31m delete\x7f c1\x85",
    "lone surrogate \ud800 and private \ue000",
    "<p>a<br/>b</p><script>alert(1 < 2)</script><!-- c --> &amp; &lt;b&gt; &#20170; &nbsp;",
    "a < b, <3, << >>, <unclosed, &unknown; &#xZZ;",
    "<" * 500 + "&" * 500,
    "a " * 2000,
    "Z" + "\u0300" * 300,
)
ROWS: tuple[dict[str, Any], ...] = (
    {"text": "good film", "label": "yes"},
    {"text": "good film", "label": "yes"},
    {"text": "good film", "label": "no"},
    {"text": "a", "text_pair": "b", "labels": ["x", "y"]},
    {"text": ""},
    {"text": "long " * 500},
    {"input": "今天", "target": "天气"},
    {"tokens": ["New", "York"], "tags": ["B", "I"]},
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
)


def check_cleaner(cleaner: Cleaner, *, idempotent: bool = False) -> None:
    """Run every check.

    Args:
        cleaner: The cleaner with the settings to be tested; registered or not.
        idempotent: Whether cleaning clean text again is promised to change nothing.
    """
    check_settings(cleaner)
    check_texts(cleaner)
    check_inference(cleaner)
    check_rows(cleaner)
    if idempotent:
        check_idempotent(cleaner)


def check_settings(cleaner: Cleaner) -> None:
    """The settings survive JSON and pickle, and the class accepts its own ``kind``."""
    plain = json.loads(json.dumps(cleaner.model_dump(mode="json")))
    assert plain.get("kind") == cleaner.kind, f"its JSON form lacks kind {cleaner.kind!r}: {plain}"
    again = type(cleaner).model_validate(plain)
    assert again == cleaner, f"{cleaner!r} comes back from JSON as {again!r}"
    assert pickle.loads(pickle.dumps(cleaner)) == cleaner, "it cannot go to a worker process"
    for name, info in type(cleaner).model_fields.items():
        assert info.description, f"the setting {name} has no docstring: it is the help people see"


def check_texts(cleaner: Cleaner) -> None:
    """``clean`` takes any text, returns text, and depends on nothing but the text."""
    before = cleaner.model_dump()
    first = [cleaner.clean(text) for text in ODD_TEXTS]
    for text, cleaned in zip(ODD_TEXTS, first, strict=True):
        assert type(cleaned) is str, f"{text!r} became {type(cleaned).__name__}"
    backwards = [cleaner.clean(text) for text in reversed(ODD_TEXTS)]
    for text, one, other in zip(ODD_TEXTS, first, reversed(backwards), strict=True):
        assert one == other, f"{text!r} became {one!r}, then {other!r}: it remembers something"
    assert cleaner.model_dump() == before, "cleaning changed its settings"
    if not cleaner.changes_text():
        assert first == list(ODD_TEXTS), "it changes texts, but says that it does not"


def check_inference(cleaner: Cleaner) -> None:
    """Made again from the JSON form in a contract, it cleans as it did in training."""
    registered = cleaner.kind in CLEANERS and CLEANERS.get(cleaner.kind) is type(cleaner)
    assert registered or cleaner.kind not in CLEANERS, (
        f"the registered cleaner {cleaner.kind!r} is another class"
    )
    if not registered or not cleaner.changes_text():
        return
    recorded = [cleaner.model_dump(mode="json")]
    for text in ODD_TEXTS:
        found = preprocess(text, recorded)
        assert found == cleaner.clean(text), f"{text!r} is cleaned differently at inference"


def check_rows(cleaner: Cleaner) -> None:
    """A row filter starts fresh each time, names its reasons and leaves rows alone."""
    rows = [dict(copy.deepcopy(row), source="a.csv", row=n) for n, row in enumerate(ROWS, 1)]
    before = copy.deepcopy(rows)
    found = [_reasons(cleaner, rows) for _ in range(2)]
    assert found[0] == found[1], f"a fresh filter decides differently: {found[0]}, {found[1]}"
    assert rows == before, "the row filter changed a row"
    for reason in found[0]:
        fine = reason is None or (isinstance(reason, str) and reason.isidentifier())
        assert fine, f"a reason is a short name such as too_long, not {reason!r}"


def _reasons(cleaner: Cleaner, rows: list[dict[str, Any]]) -> list[str | None]:
    reason_of = cleaner.row_filter()
    return [None if reason_of is None else reason_of(row) for row in rows]


def check_idempotent(cleaner: Cleaner) -> None:
    """Cleaning clean text changes nothing, so that cleaning twice does no harm."""
    for text in ODD_TEXTS:
        once = cleaner.clean(text)
        twice = cleaner.clean(once)
        names = [unicodedata.name(c, hex(ord(c))) for c in set(once) ^ set(twice)]
        assert once == twice, f"{text!r} became {once!r}, then {twice!r} ({names})"
