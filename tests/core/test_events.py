from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from llmwright.core.events import (
    ArtifactSaved,
    Event,
    EventFile,
    Metric,
    Notice,
    Progress,
    RunFailed,
    RunFinished,
    RunStarted,
    Sample,
    from_line,
    read_events,
    to_line,
)

EVENTS: list[Event] = [
    RunStarted("r1", "train", "sft"),
    Progress("train", 3, 10, "steps", {"loss": 0.5}),
    Metric("accuracy", 0.9, 3, "validation"),
    Sample("今天", "天气\n很好", 3),
    Notice("bf16 switched on"),
    ArtifactSaved("abc", "model", "/x"),
    RunFailed("CORE-099", "broken", ""),
    RunFinished(1.5, "abc", True),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_event_is_one_line_and_comes_back(event: Event) -> None:
    line = to_line(event)
    assert "\n" not in line
    when, back = from_line(line)
    assert back == event
    assert when > 1.7e9


def test_a_cut_last_line_is_left_out_and_does_not_spoil_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventFile(path) as log:
        for event in EVENTS:
            log(event)
    whole = path.read_bytes()
    first = len(whole.split(b"\n")[0]) + 1
    for cut in range(first, first + 60):  # within characters, too
        path.write_bytes(whole[:cut])
        assert next(read_events(path))[1] == EVENTS[0]
        with EventFile(path) as log:
            log(EVENTS[2])
        assert [event for _, event in read_events(path)] == [EVENTS[0], EVENTS[2]]


def test_a_cut_within_a_chinese_character_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = to_line(Sample("今天", "天气")).encode()
    path.write_bytes(line + b"\n" + line[: line.index("天".encode()) + 1])
    assert len(list(read_events(path))) == 1


def test_no_file_means_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "none")) == []


def test_figures_that_are_no_numbers_survive_as_json() -> None:
    line = to_line(Metric("loss", float("inf")))
    assert json.loads(line, parse_constant=lambda word: pytest.fail(word))["value"] is None
    event = from_line(line)[1]
    assert isinstance(event, Metric)
    assert math.isnan(event.value)
    progress = from_line(to_line(Progress("train", 1, 2, "", {"loss": float("nan")})))[1]
    assert isinstance(progress, Progress)
    assert math.isnan(progress.values["loss"])
