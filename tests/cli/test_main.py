"""The command line as a whole: exit codes, errors for people and for programs, languages."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from llmwright import __version__
from llmwright.cli.main import cli, invoke


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_unknown_command_is_a_usage_error_with_the_closest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(["trian"]) == 2
    assert 'Did you mean "train"?' in capsys.readouterr().err


def test_unknown_option_is_a_usage_error_with_the_closest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(["train", "--epoch", "3"]) == 2
    assert "--epochs" in capsys.readouterr().err


def test_unknown_setting_names_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["train", "epohcs=3"]) == 2
    shown = capsys.readouterr().err
    assert "CORE-040" in shown
    assert 'Did you mean "epochs"?' in shown


def test_wrong_value_names_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["train", "--epochs", "many"]) == 2
    shown = capsys.readouterr().err
    assert "CORE-041" in shown
    assert "train.epochs" in shown


def test_missing_input_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["train"]) == 1
    shown = capsys.readouterr().err
    assert "CORE-062" in shown
    assert "llmwright run" in shown


def test_errors_are_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["prepare", "missing.csv", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"].startswith("DATA-")
    assert "missing.csv" in error["message"]
    assert error["fix"]


@pytest.mark.parametrize("words", [[], ["prepare"], ["runs"], ["runs", "show"]])
def test_help_is_in_chinese_throughout(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    assert invoke([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "用法:" in shown
    assert "选项" in shown
    assert "显示此帮助" in shown
    assert not any(word in shown for word in ("Usage:", "Options:", "Commands:", " exit."))


def test_chinese_is_shown_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    assert invoke(["prepare", "missing.csv"]) == 1
    assert any("\u4e00" <= char <= "\u9fff" for char in capsys.readouterr().err)


def test_prepare_works_and_repeats_as_unchanged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"row {n} of the table,{'yes' if n % 2 else 'no'}" for n in range(40)]
    (folder / "table.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    command = ["prepare", "table.csv", "--json"]
    assert invoke(command) == 0
    first = json.loads(capsys.readouterr().out)["steps"][0]
    assert invoke(command) == 0
    second = json.loads(capsys.readouterr().out)["steps"][0]
    assert (first["reused"], second["reused"]) == (False, True)
    assert first["artifact"] == second["artifact"]
    assert sum(first["artifact"]["metadata"]["counts"].values()) == 40


def test_environment_and_options_override_the_project_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "llmwright.yaml").write_text(
        "prepare: {source: a.csv, max_rows: 5}\ntrain: {epochs: 7, batch_size: 4}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("LLMWRIGHT_TRAIN__BATCH_SIZE", "8")
    assert invoke(["config", "show", "train.epochs=9", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["train"]["epochs"] == 9
    assert shown["settings"]["train"]["batch_size"] == 8
    assert shown["settings"]["prepare"]["max_rows"] == 5
    assert shown["origins"]["train.epochs"] == "command line"
    assert shown["origins"]["train.batch_size"] == "environment"
    assert shown["origins"]["prepare.max_rows"] == "llmwright.yaml"


def test_a_wrong_line_of_the_project_file_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "name: x\nprepare: {source: a.csv}\ntrain:\n  epochs: 3\n  lrr: 0.1\n"
    (folder / "llmwright.yaml").write_text(text, encoding="utf-8")
    assert invoke(["run"]) == 2
    shown = capsys.readouterr().err
    assert "llmwright.yaml:5" in shown
    assert 'Did you mean "lr"?' in shown


def test_an_operation_of_the_future_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "llmwright.yaml").write_text("deploy: {target: docker}\n", encoding="utf-8")
    assert invoke(["run"]) == 2
    shown = capsys.readouterr().err
    assert "CORE-053" in shown
    assert '"deploy"' in shown


def every_command(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    own = [(path, command)] if command.invoke_without_command else []
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        own += every_command(inner, f"{path} {name}".strip())
    return own


@pytest.mark.parametrize(("path", "command"), every_command(cli, ""))
def test_every_command_has_help_and_json(path: str, command: click.Command) -> None:
    flags = {flag for param in command.params for flag in param.opts}
    # Its output is JSON and nothing else.
    assert "--json" in flags or path == "config schema"
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help, param.name
    assert command.help
