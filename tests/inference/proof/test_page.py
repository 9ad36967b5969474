"""The page of a parity table: whole, in both languages, safe to open."""

from __future__ import annotations

import re

import numpy as np
import pytest

from llmwright.inference.proof.page import parity_page
from llmwright.inference.proof.parity import ParityTable
from llmwright.inference.proof.probes import Probe


@pytest.fixture
def table() -> ParityTable:
    made = ParityTable("onnx", "float32", num_probes=3, num_recorded=4)
    made.equal("files_intact", "", "")
    made.at_most("logit_difference", 2.5, 1e-4)
    row = {"text": "<script>alert(1)</script>"}
    made.differ(Probe(row, np.array([1]), answer={"label": "wet"}), ["dry"])
    return made


def test_it_shows_verdict_checks_and_differences_in_both_languages(table: ParityTable) -> None:
    page = parity_page(table, "export b32f", "zh")
    assert 'lang="zh" data-lang="zh"' in page.split(">", 2)[1]
    for text in ("export b32f", "3 / 4", "2.5", "0.0001", "–", "wet", "dry"):
        assert text in page
    assert "This is not the recorded model." in page
    assert "这不是所记录的模型。" in page
    assert page.count('class="wrong"') == 1
    assert page.count('class="right"') == 1


def test_it_needs_nothing_from_outside_and_escapes_what_users_wrote(table: ParityTable) -> None:
    page = parity_page(table, "x", "en")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bsrc=|\bhref=|<link|<iframe", page)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
