"""The command of one operation, its options made from the config class."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from llmwright.cli import render
from llmwright.cli.options import PROJECT
from llmwright.cli.results import show_done
from llmwright.core import jobs, layers, pipeline, plugins, schema
from llmwright.core.config import parse
from llmwright.core.locale import text
from llmwright.core.operation import Operation
from llmwright.core.project import Project, Section
from llmwright.operations import OPERATIONS

# Options every working command has; names a config field must not take.
COMMON = ("project", "json", "quiet", "detach", "fresh", "help")


def common_options() -> list[click.Parameter]:
    """Return the options that all working commands share."""
    return [
        click.Option(
            ["--project", "folder"],
            type=PROJECT,
            metavar="DIR",
            help=text("cli.option_project"),
        ),
        click.Option(["--json", "as_json"], is_flag=True, help=text("cli.option_json")),
        click.Option(["--quiet", "-q"], is_flag=True, help=text("cli.option_quiet")),
        click.Option(["--detach"], is_flag=True, help=text("cli.option_detach")),
        click.Option(["--fresh"], is_flag=True, help=text("cli.option_fresh")),
    ]


def command_of(operation: Operation) -> click.Command:
    """Return the click command of an operation."""
    config_class = operation.config_class()
    fields = schema.fields_of(config_class)
    params: list[click.Parameter] = [
        click.Argument(["words"], nargs=-1, metavar=_argument_label(operation))
    ]
    params += [option_of(field) for field in fields]
    params += common_options()

    def callback(words: tuple[str, ...], folder: Path | None, **given: Any) -> None:
        shared = {name: given.pop(name) for name in ("as_json", "quiet", "detach", "fresh")}
        if shared["detach"]:
            start_detached(folder)
            return
        values = _given_values(operation, fields, words, given)
        _run(operation, folder, values, shared)

    about = f"{text('cli.' + operation.verb)}\n\n{text('cli.overrides')}"
    return click.Command(operation.verb, params=params, callback=callback, help=about)


def _argument_label(operation: Operation) -> str:
    argument = f"[{operation.argument.upper()}] " if operation.argument else ""
    return f"{argument}[KEY=VALUE]..."


def option_of(field: schema.Field) -> click.Option:
    """Return the click option of a config field."""
    flag = field.name.replace("_", "-")
    default = f"  [{text('cli.default')}: {field.default}]" if field.default else ""
    required = f"  [{text('cli.required')}]" if field.default is None else ""
    shared: dict[str, Any] = {"help": field.help + default + required, "default": None}
    if field.is_flag:
        return click.Option([f"--{flag}/--no-{flag}", f"field_{field.name}"], **shared)
    return click.Option([f"--{flag}", f"field_{field.name}"], metavar=field.label, **shared)


def _given_values(
    operation: Operation, fields: list[schema.Field], words: tuple[str, ...], given: dict[str, Any]
) -> dict[str, Any]:
    """Return the settings of this command line as nested values."""
    overrides = list(words)
    values: dict[str, Any] = {}
    if overrides and operation.argument and "=" not in overrides[0]:
        values[operation.argument] = overrides.pop(0)
    for field in fields:
        raw = given.get(f"field_{field.name}")
        if raw is not None:
            keep = field.is_text or field.is_flag
            values[field.name] = raw if keep else layers.parse_value(raw, field.name)
    return layers.merge(values, layers.parse_overrides(overrides))


def find_project(folder: Path | None, overrides: dict[str, Any] | None = None) -> Project:
    """Return the project of this command, with environment and overrides laid over its file."""
    environment = layers.from_environment(os.environ, OPERATIONS)
    return Project.find(OPERATIONS, folder, environment=environment, overrides=overrides)


def _run(
    operation: Operation, folder: Path | None, values: dict[str, Any], shared: dict[str, Any]
) -> None:
    project = find_project(folder)
    plugins.load_project_plugins(project)
    sections = [s for s in project.sections(OPERATIONS) if s.verb == operation.verb]
    verb = operation.verb
    section = sections[0] if len(sections) == 1 else Section(verb, verb, {}, verb)
    config = parse(
        operation.config_class(),
        layers.merge(section.values, values),
        section.where,
        project.lines | dict.fromkeys(layers.flat({section.where: values}), "command line"),
    )
    terminal = render.Terminal(shared["quiet"] or shared["as_json"])
    done = pipeline.execute(project, operation, config, section.step, [terminal], shared["fresh"])
    show_done([done], shared["as_json"])


def start_detached(folder: Path | None) -> None:
    """Start this very command line, without ``--detach``, as a job."""
    project = find_project(folder)
    words = [word for word in sys.argv[1:] if word != "--detach"]
    argv = [sys.executable, "-m", "llmwright.cli", *words]
    job = jobs.start(project.home, argv, Path.cwd())
    if "--json" in words:
        render.print_json({"job": job.id, "pid": job.pid})
    else:
        click.echo(text("cli.detached", job=job.id))
