"""Retrieval and "not found" on XQuAD, by words alone: what is promised in docs/knowledge.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.knowledge.conftest import Ask


def articles(data: Path, language: str) -> list[dict[str, Any]]:
    path = data / f"xquad/xquad.{language}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["data"])


def write(folder: Path, chosen: dict[int, dict[str, Any]]) -> dict[tuple[int, int], int]:
    """Write each article as a file; return where each of its paragraphs begins."""
    starts = {}
    folder.mkdir()
    for number, article in chosen.items():
        text = ""
        for place, paragraph in enumerate(article["paragraphs"]):
            starts[number, place] = len(text)
            text += paragraph["context"] + "\n\n"
        (folder / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return starts


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_answer_is_among_five_passages(
    llmwright_data: Path, tmp_path: Path, ask: Ask, language: str
) -> None:
    data = articles(llmwright_data, language)
    starts = write(tmp_path / "docs", dict(enumerate(data)))
    knowledge = ask()
    found = []
    for (number, place), first in starts.items():
        for question in data[number]["paragraphs"][place]["qas"]:
            answer = question["answers"][0]
            start, length = first + answer["answer_start"], len(answer["text"])
            passages = [hit.passage for hit in knowledge.search(question["question"], 5)]
            right = [
                passage
                for passage in passages
                if passage.source == f"{number:02}.txt"
                and passage.start <= start
                and start + length <= passage.end
            ]
            found.append(bool(right))
            assert all(answer["text"] in passage.text for passage in right)
    assert sum(found) / len(found) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_questions_about_other_documents_are_refused(
    llmwright_data: Path, tmp_path: Path, ask: Ask, language: str
) -> None:
    # The second half: the first one fitted the weights.
    asked = dict(enumerate(articles(llmwright_data, language)[24:]))
    known = {number: article for number, article in asked.items() if number % 2}
    write(tmp_path / "docs", known)
    knowledge = ask()
    answered: dict[bool, list[bool]] = {True: [], False: []}
    for number, article in asked.items():
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                hits = knowledge.known(knowledge.search(question["question"], 1))
                answered[number in known].append(bool(hits))
    assert sum(answered[True]) / len(answered[True]) > 0.85
    assert sum(answered[False]) / len(answered[False]) < 0.15
