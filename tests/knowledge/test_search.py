"""Questions find their passages in both languages, and what is not there is not found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.knowledge.conftest import Ask, Said, by_english_words

import llmwright
from llmwright.cli.main import invoke
from llmwright.core.config import parse
from llmwright.core.errors import ConfigError
from llmwright.core.events import Event, Progress
from llmwright.knowledge.config import KnowledgeConfig


@pytest.mark.parametrize(
    ("question", "source", "text"),
    [
        ("How many days may goods be sent back?", "returns.md", "fourteen days"),
        ("warranty of electric devices", "returns.md", "three years"),
        ("When does the shop in Lyon open?", "opening/hours.txt", "nine in the morning"),
        ("How do I pay?", "faq.csv", "card"),
        ("退款几天到账？", "退款.txt", "七个工作日"),
        ("怎样成为金卡会员？", "会员.txt", "五千元"),
    ],
)
def test_questions_find_their_passages(
    docs: Path, ask: Ask, question: str, source: str, text: str
) -> None:
    knowledge = ask()
    hits = knowledge.search(question)
    passage = hits[0].passage
    assert (passage.source, text in passage.text) == (source, True)
    assert knowledge.known(hits)[0] is hits[0]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_offsets_lead_to_the_text_in_the_file(docs: Path, ask: Ask) -> None:
    knowledge = ask()
    for question in ("warranty of batteries", "island parcels", "退款"):
        passage = knowledge.search(question)[0].passage
        whole = (docs / passage.source).read_text(encoding="utf-8")
        assert whole[passage.start : passage.end] == passage.text
    assert knowledge.search("warranty of batteries")[0].passage.heading == "Warranty"
    assert knowledge.search("wrap gifts")[0].passage.row == 2


@pytest.mark.parametrize(
    "question",
    [
        "Who won the football match yesterday?",
        "火星上有多少颗卫星？",
        "?",
        "the of and",
        "x" * 5000,
    ],
)
def test_what_is_not_there_is_not_known(docs: Path, ask: Ask, question: str) -> None:
    knowledge = ask()
    assert knowledge.known(knowledge.search(question)) == []


def test_the_number_of_passages_can_be_asked_for(docs: Path, ask: Ask) -> None:
    knowledge = ask(passages=2)
    assert len(knowledge.search("days parcels shop warranty")) == 2
    assert len(knowledge.search("days parcels shop warranty", 3)) == 3


def test_an_encoder_is_used_only_where_it_finds_something(docs: Path, ask: Ask, said: Said) -> None:
    for number, sign in enumerate("甲乙丙丁戊己庚辛壬癸子丑"):
        text = f"Item {number} weighs {number + 20} grams exactly. Colour of it: shade {number}."
        (docs / f"item{number}.txt").write_text(text * 2, encoding="utf-8")
        text = f"商品{sign}重{sign}克，包装很小。颜色是第{sign}号色，质地很软。"
        (docs / f"商品{sign}.txt").write_text(text * 2, encoding="utf-8")
    knowledge = ask(by_english_words())
    gauges = knowledge.index.gauges
    assert gauges["en"].holds
    assert not gauges["zh"].holds
    assert knowledge.search("parcels to islands")[0].meaning is not None
    assert knowledge.search("退款几天到账")[0].meaning is None
    assert any("words alone" in warning for warning in said.notices("warning"))
    assert knowledge.search("退款几天到账")[0].passage.source == "退款.txt"


def test_settings_have_a_short_form() -> None:
    assert KnowledgeConfig.model_validate("docs").folder == "docs"
    assert KnowledgeConfig.model_validate(2024).folder == "2024"
    with pytest.raises(ConfigError, match="half"):
        parse(KnowledgeConfig, {"folder": "docs", "passage_size": 40, "overlap": 30})


def test_the_same_from_python(docs: Path, tmp_path: Path) -> None:
    said: list[Event] = []
    knowledge = llmwright.documents("docs", project=tmp_path, consumers=[said.append])
    hits = knowledge.search("When does the shop in Lyon open?")
    assert hits[0].passage.source == "opening/hours.txt"
    assert any(isinstance(event, Progress) for event in said)
    settings = {"folder": docs, "passages": 1}
    assert len(llmwright.documents(settings, project=tmp_path).search("shop days parcels")) == 1
    with pytest.raises(ConfigError, match="fodler"):
        llmwright.documents({"folder": "docs", "fodler": "docs"}, project=tmp_path)


def test_the_same_from_the_command_line(
    docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["search", "island parcels", "--knowledge", "docs", "--json"]) == 0
    (best, *_) = json.loads(capsys.readouterr().out)
    assert best["source"] == "delivery.txt"
    assert invoke(["search", "Who won the match?", "--knowledge", "docs"]) == 0
    assert "say nothing" in capsys.readouterr().out
    assert invoke(["search", "parcels"]) == 2
    assert "CLI-004" in capsys.readouterr().err
    (tmp_path / "llmwright.yaml").write_text("serve: {knowledge: docs}\n", encoding="utf-8")
    assert invoke(["search", "退款几天到账", "--passages", "1"]) == 0
    assert "退款.txt" in capsys.readouterr().out
