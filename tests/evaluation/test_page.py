from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest

from llmwright.core import locale
from llmwright.evaluation import breakdown
from llmwright.evaluation.config import EvaluateConfig
from llmwright.evaluation.outcomes import Outcomes
from llmwright.evaluation.page import sections
from llmwright.evaluation.page.document import build_page
from llmwright.evaluation.page.heatmap import heat_map
from llmwright.evaluation.page.sentences import words
from llmwright.evaluation.report import Report, ScoredRow, Unscored
from llmwright.inference.page.markup import number

VOID = {"meta"}
MakeReport = Callable[[EvaluateConfig], Report]


class Balance(HTMLParser):
    """Collects elements, and fails on an end tag that closes the wrong element."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def found(report: MakeReport) -> Report:
    made = report(EvaluateConfig(gate={"accuracy": ">= 0.9"}))
    return dataclasses.replace(made, unscored=[Unscored("pets.csv", 11, "The text is empty.")])


def test_page_is_well_formed_and_complete(found: Report, pet_rows: list[ScoredRow]) -> None:
    page = build_page(found, pet_rows, "en")
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    # Metrics, labels, confusion, ROC, PR, calibration, length.
    assert parser.seen.count("svg") == 7
    for text in ("0.700", "accuracy &gt;= 0.9", "pets.csv:11", "The text is empty.", "owl"):
        assert text in page


def test_page_needs_nothing_from_outside(found: Report, pet_rows: list[ScoredRow]) -> None:
    page = build_page(found, pet_rows, "en")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bsrc=|\bhref=|<link|<iframe", page)


def test_page_holds_both_languages_and_opens_in_the_users(
    found: Report, pet_rows: list[ScoredRow]
) -> None:
    page = build_page(found, pet_rows, "zh")
    assert 'lang="zh" data-lang="zh"' in page.split(">", 2)[1]
    assert "评估报告" in page
    assert "Evaluation report" in page


def test_a_rows_text_cannot_become_markup(found: Report) -> None:
    row = ScoredRow("a.csv", 1, "<script>alert(1)</script>", "cat", "dog", False, 0.0, 0.9)
    page = build_page(found, [row], "en")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_most_confident_mistake_comes_first(found: Report) -> None:
    rows = [
        ScoredRow("a.csv", n, f"text {n}", "cat", "dog", False, 0.0, confidence)
        for n, confidence in enumerate([0.5, 0.99, 0.7])
    ]
    page = build_page(found, rows, "en")
    assert page.index("text 1") < page.index("text 2") < page.index("text 0")


def test_a_matrix_of_77_labels_is_drawn_without_numbers_and_with_tooltips() -> None:
    labels = tuple(f"intent_{i:02d}" for i in range(77))
    generator = np.random.default_rng(0)
    truth = [labels[i] for i in generator.integers(77, size=500)]
    answers = [labels[i] if generator.random() < 0.3 else t for i, t in enumerate(truth[:77])]
    matrix = breakdown.confusion(Outcomes("label", answers + truth[77:], truth, labels=labels))
    picture = heat_map(matrix, words("confusion_chart"))
    assert 'class="count' not in picture
    cells = sum(1 for row in matrix.counts for count in row if count)
    assert picture.count("<title>") == cells


@pytest.mark.parametrize(("num_labels", "beside"), [(8, True), (10, False)])
def test_a_matrix_that_needs_it_has_the_whole_width(
    report: MakeReport, num_labels: int, beside: bool
) -> None:
    labels = tuple(f"label {i}" for i in range(num_labels))
    matrix = breakdown.confusion(Outcomes("label", labels[::-1], labels, labels=labels))
    mixups = breakdown.mixups(matrix)
    found = dataclasses.replace(report(EvaluateConfig()), confusion=matrix, mixups=mixups)
    section = sections.confusion(found)
    assert ('class="pair"' in section) is beside
    # The picture is never pressed below the width that it scrolls at.
    assert section.count("min-width:620px") == section.count("flex-basis:620px") == 1


def test_numbers_are_written_for_readers() -> None:
    assert number(0.98765) == "0.988"
    assert number(28.3012, 100.0) == "28.30"
    assert number(None) == "—"
    assert number(1234567.0, None) == "1.23e+06"


def test_every_sentence_of_the_page_exists_in_chinese() -> None:
    english = locale.catalogue("en", "evaluation")["text"]
    assert set(locale.catalogue("zh", "evaluation")["text"]) == set(english)
