from __future__ import annotations

import pytest

from llmwright.core.errors import ConfigError
from llmwright.data.clean import RowCleaner, preprocess
from llmwright.data.cleaners import (
    Cleaner,
    ControlCleaner,
    DedupeCleaner,
    HtmlCleaner,
    LengthCleaner,
    UnicodeCleaner,
    WhitespaceCleaner,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<p>Hello <b>world</b></p>", "Hello world\n"),
        ("a<br/>b", "a\nb"),
        ("x <script>var a = '<b>';</script>y<!-- z -->", "x y"),
        ("fish &amp; chips &lt;3", "fish & chips <3"),
        ("a < b and c > d, I <3 you", "a < b and c > d, I <3 you"),
        ('<a href="x.html" class=y>link</a>', "link"),
    ],
)
def test_html(raw: str, clean: str) -> None:
    assert HtmlCleaner().clean(raw) == clean


def test_unicode() -> None:
    assert UnicodeCleaner().clean("ＡＢＣ１２３ ﬁn") == "ABC123 fin"
    assert UnicodeCleaner(form="NFC").clean("Ａe\u0301") == "Ａé"


def test_control_keeps_newlines_tabs_and_emoji() -> None:
    assert ControlCleaner().clean("a\x07b\u200bc\ufeffd\te\nf") == "abcd\te\nf"
    family = "👨\u200d👩\u200d👧"
    assert ControlCleaner().clean(family) == family


def test_whitespace() -> None:
    raw = "  a \u3000 b\t\tc \r\n\r\n\n \n d  \n e "
    assert WhitespaceCleaner().clean(raw) == "a b c\n\nd\ne"


def test_dedupe_looks_at_the_whole_content() -> None:
    reason = DedupeCleaner().row_filter()
    assert reason({"text": "a", "label": "x", "source": "f", "row": 1}) is None
    assert reason({"text": "a", "label": "y", "source": "f", "row": 2}) is None
    assert reason({"text": "a", "label": "x", "source": "g", "row": 9}) == "duplicate"


def test_length_bounds() -> None:
    reason = LengthCleaner(min=2, max=4).row_filter()
    assert reason({"input": "abc", "target": "de"}) is None
    assert reason({"input": "abc", "target": "d"}) == "too_short"
    assert reason({"input": "abcde", "target": "de"}) == "too_long"
    assert reason({"tokens": ["longer"], "tags": ["O"]}) == "too_short"
    with pytest.raises(ValueError, match="below min"):
        LengthCleaner(min=5, max=4)


class Shout(Cleaner):
    kind: str = "shout"

    def clean(self, text: str) -> str:
        return text.upper()


def test_every_text_of_a_row_is_cleaned_but_no_label() -> None:
    cleaner = RowCleaner([Shout()])
    assert cleaner({"text": "a", "label": "x"})[0] == {"text": "A", "label": "x"}
    row = {"messages": [{"role": "user", "content": "hi"}]}
    assert cleaner(row)[0] == {"messages": [{"role": "user", "content": "HI"}]}
    assert cleaner.preprocessing == [{"kind": "shout"}]


def test_a_token_that_vanishes_takes_its_tag_along() -> None:
    row, reason = RowCleaner([ControlCleaner()])({"tokens": ["a", "\u200b", "b"], "tags": "XYZ"})
    assert (row["tokens"], row["tags"], reason) == (["a", "b"], ["X", "Z"], None)


def test_a_text_that_vanishes_takes_its_row_along() -> None:
    _, reason = RowCleaner([HtmlCleaner()])({"text": "<br>", "label": "x"})
    assert reason == "empty_after_cleaning"


def test_inference_repeats_text_cleaners_only() -> None:
    cleaners = [HtmlCleaner(), UnicodeCleaner(), WhitespaceCleaner(), DedupeCleaner()]
    recorded = RowCleaner(cleaners).preprocessing
    assert [c["kind"] for c in recorded] == ["html", "unicode", "whitespace"]
    assert preprocess("<b>Ｈｉ</b>   there ", recorded) == "Hi there"
    assert preprocess("<b>as it is", []) == "<b>as it is"


def test_unknown_cleaner_at_inference_is_an_error() -> None:
    with pytest.raises(ConfigError, match="CORE-011"):
        preprocess("x", [{"kind": "not_installed"}])
