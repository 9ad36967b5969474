"""What a person reads in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from llmwright.cli import render
from llmwright.core import events


def shown(capsys: pytest.CaptureFixture[str], *said: events.Event, quiet: bool = False) -> str:
    terminal = render.Terminal(quiet)
    for event in said:
        terminal(event)
    return capsys.readouterr().err


def test_figures_measured_together_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(
        capsys,
        events.Metric("loss", 1.25, 10, "validation"),
        events.Metric("accuracy", 0.5, 10, "validation"),
        events.Metric("loss", 1.125, 20, "validation"),
        events.RunFinished(1.0),
    ).splitlines()
    assert lines[0] == "  · step 10: validation loss 1.25  accuracy 0.5"
    assert lines[1] == "  · step 20: validation loss 1.125"


def test_figures_of_the_progress_have_units(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "PLAIN_EVERY_SECONDS", 0.0)
    values = {"loss": 0.674912, "tokens_per_second": 81.07, "memory_bytes": 1.04e9}
    line = shown(capsys, events.Progress("train", 1000, 3000, "steps", values))
    assert line == "    training 1,000/3,000 steps  loss 0.6749  81 tokens/s  memory 1.0 GB\n"


def test_a_report_of_what_failed_has_no_tick(capsys: pytest.CaptureFixture[str]) -> None:
    assert "✓ report a" in shown(capsys, events.ArtifactSaved("a", "report", "/a"))
    assert shown(capsys, events.ArtifactSaved("a", "report", "/a", False)) == "  · report a\n"


def test_blank_lines_of_a_sample_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    line = shown(capsys, events.Sample("a", "b" + "\n" * 40 + "c\n\nd", 1))
    assert line.splitlines() == ["  » a → b", "      ⋮", "      c", "      ", "      d"]


def test_names_are_shown_in_chinese(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    metric = events.Metric("loss", 1.25, 10, "validation")
    lines = shown(capsys, metric, events.RunFinished(1.0))
    assert "第 10 步： 验证集 损失 1.25" in lines


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(
        capsys,
        events.RunStarted("r", "train", "train"),
        events.Metric("loss", 1.0, 1, "validation"),
        events.Notice("beware", "warning"),
        events.RunFinished(1.0),
        quiet=True,
    )
    assert lines.splitlines() == ["  ! beware"]


def test_a_table_has_its_title_in_full_and_no_blanks_at_line_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    title = "A title that is longer than the table under it"
    render.print_table(title, ["a", "b"], [("1", "2"), ("3", "")])
    assert capsys.readouterr().out.splitlines() == ["", title, "a  b", "1  2", "3"]


def test_the_cursor_comes_back_however_the_work_ends() -> None:
    out = io.StringIO()
    terminal = render.Terminal()
    terminal.console = Console(file=out, force_terminal=True)
    with terminal:
        terminal(events.Progress("predict", 1, 10))
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")
