"""Commands that ask a model: predict and chat."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from llmwright.cli import options, render
from llmwright.cli.operation import find_project, option_of
from llmwright.cli.talk import Talk
from llmwright.core import plugins, schema
from llmwright.core.locale import text
from llmwright.operations import OPERATIONS

if TYPE_CHECKING:
    from llmwright.api import Conversation

_model = click.option("--model", metavar="REF", help=text("cli.option_model"))
_engine = click.option("--engine", default="auto", metavar="NAME", help=text("cli.option_engine"))
_tokens = click.option(
    "--max-new-tokens", type=int, metavar="INT", help=text("cli.option_max_new_tokens")
)
_temperature = click.option(
    "--temperature", type=float, metavar="NUMBER", help=text("cli.option_temperature")
)
_controls = click.option(
    "--control", "controls", multiple=True, metavar="NAME=VALUE", help=text("cli.option_control")
)


# Stands for the standard input or output in place of a file.
PIPE = "-"
# How prepare and predict are told to read a file.
READING = ("format", "encoding", "delimiter", "quoted", "header")


def _reading_options(command: click.Command) -> click.Command:
    """Add the options of `prepare` that say how a file is read."""
    fields = {f.name: f for f in schema.fields_of(OPERATIONS["prepare"].config_class())}
    command.params += [option_of(fields[name]) for name in READING]
    return command


@_reading_options
@click.command(help=text("cli.predict"))
@click.argument("words", nargs=-1, metavar="[TEXT | FIELD=VALUE]...")
@click.option(
    "--file",
    "source",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=text("cli.option_file"),
)
@click.option("--out", type=click.Path(path_type=Path), metavar="PATH", help=text("cli.option_out"))
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help=text("cli.option_column")
)
@click.option("--strict", is_flag=True, help=text("cli.option_strict"))
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="INT", help=text("cli.option_batch_size")
)
@_model
@_engine
@_controls
@_tokens
@_temperature
@options.project
@options.as_json
def predict(
    words: tuple[str, ...],
    source: Path | None,
    out: Path | None,
    columns: tuple[str, ...],
    strict: bool,
    batch_size: int | None,
    model: str | None,
    engine: str,
    controls: tuple[str, ...],
    max_new_tokens: int | None,
    temperature: float | None,
    folder: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Answer one input, or a file of them."""
    from llmwright import api

    if bool(words) == bool(source):
        raise click.UsageError(text("cli.predict_needs"))
    reading = {name: given[f"field_{name}"] for name in READING}
    about_file = (out, columns, strict, batch_size, *reading.values())
    if not source and any(value not in (None, (), False) for value in about_file):
        raise click.UsageError(text("cli.out_needs_file"))
    project = find_project(folder)
    plugins.load_project_plugins(project)
    settings = _settings(max_new_tokens, temperature) | _styles(controls)
    if source is not None:
        asked = {**reading, **settings, "strict": strict, "columns": _columns(columns)}
        asked |= {} if batch_size is None else {"batch_size": batch_size}
        with render.Terminal(as_json) as terminal, _rows_of(source) as rows:
            asked |= {"consumers": [terminal], "project": project}
            target = _target(source, out)
            done = api.predict_file(rows, target, model=model, engine=engine, **asked)
        _show_answered(target, done, as_json)
        return
    with render.Terminal(as_json) as terminal:
        answers = api.predict(
            [_row(words)],
            model=model,
            engine=engine,
            project=project,
            consumers=[terminal],
            **settings,
        )
    render.print_json(answers[0])


@contextlib.contextmanager
def _rows_of(source: Path) -> Iterator[Path]:
    """Yield the file with the rows; what comes through a pipe is kept as one meanwhile."""
    if str(source) != PIPE:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "stdin"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield kept


def _target(source: Path, out: Path | None) -> Path | BinaryIO:
    """Return where answers go: through a pipe where the rows came through one."""
    if str(out) == PIPE or (out is None and str(source) == PIPE):
        return sys.stdout.buffer
    return out or source.with_suffix(".answers.jsonl")


def _columns(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in given]
    if any(not (sign and field and column) for field, sign, column in pairs):
        raise click.UsageError(text("cli.column_form"))
    return {field: column for field, _, column in pairs}


def _show_answered(target: Path | BinaryIO, done: dict[str, Any], as_json: bool) -> None:
    piped = not isinstance(target, Path)
    if as_json and not piped:
        render.print_json(done)
        return
    key = "cli.nothing_left" if done["count"] == done["skipped"] else "cli.answered"
    if not piped:
        click.echo(text(key, path=target, count=done["count"], skipped=done["skipped"]))
    if done["failed"]:
        first = done["first_failure"]
        click.echo(
            text("cli.unanswered", failed=done["failed"], count=done["count"], **first), err=True
        )


def _row(words: tuple[str, ...]) -> dict[str, Any] | str:
    """Return ``FIELD=VALUE`` words as a row, or the words as one text.

    A sum (``1+1=2``) or a sentence before the sign is no name of a field.
    """
    pairs = [word.split("=", 1) for word in words]
    if all(len(pair) == 2 and pair[0].isidentifier() for pair in pairs):
        return dict(pairs)
    return " ".join(words)


def _settings(max_new_tokens: int | None, temperature: float | None) -> dict[str, Any]:
    given = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    return {name: value for name, value in given.items() if value is not None}


def _styles(given: tuple[str, ...]) -> dict[str, Any]:
    """Return ``NAME=VALUE`` words as the controls of answers; nothing without any."""
    pairs = [word.partition("=") for word in given]
    if any(not (sign and name and value) for name, sign, value in pairs):
        raise click.UsageError(text("cli.control_form"))
    controls = {name: value for name, _, value in pairs}
    return {"controls": controls} if controls else {}


@click.command(help=text("cli.chat"))
@_model
@_engine
@_controls
@click.option("--system", metavar="TEXT", help=text("cli.option_system"))
@_tokens
@_temperature
@options.project
@click.option("--json", "as_json", is_flag=True, help=text("cli.option_chat_json"))
def chat(
    model: str | None,
    engine: str,
    controls: tuple[str, ...],
    system: str | None,
    max_new_tokens: int | None,
    temperature: float | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Talk with a model, turn by turn, its words as they come."""
    from llmwright import api

    project = find_project(folder)
    plugins.load_project_plugins(project)
    with render.Terminal(as_json) as terminal:
        talk = api.chat(
            model=model,
            engine=engine,
            system=system,
            project=project,
            consumers=[terminal],
            **_settings(max_new_tokens, temperature),
            **_styles(controls),
        )
    if as_json:
        _talk_by_lines(talk)
    else:
        Talk(talk).run()


def _talk_by_lines(talk: Conversation) -> None:
    """Answer each line of the standard input with one line of JSON."""
    for line in sys.stdin:
        if line.strip():
            click.echo(json.dumps({"text": "".join(talk.say(line.strip()))}, ensure_ascii=False))
