"""The command of one operation, its options made from the config class."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click

from llmwright.cli import render
from llmwright.cli.options import PROJECT
from llmwright.cli.results import show_done
from llmwright.core import jobs, layers, pipeline, plugins, schema
from llmwright.core.config import Config, LocalPath, form_at, is_secret, parse, places_at
from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.core.operation import Operation, field_at
from llmwright.core.project import Project, Section, forms_in
from llmwright.operations import OPERATIONS

# Options every working command has; names a config field must not take.
COMMON = ("project", "json", "quiet", "detach", "fresh", "step", "help")


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
    params.append(click.Option(["--step"], metavar="NAME", help=text("cli.option_step")))

    def callback(words: tuple[str, ...], folder: Path | None, **given: Any) -> None:
        shared = {name: given.pop(name) for name in ("as_json", "quiet", "detach", "fresh", "step")}
        values = _given_values(operation, fields, words, given)
        if shared["detach"]:
            start_detached(folder, {operation.verb: values})
            return
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
    forms = partial(form_at, operation.config_class())
    return layers.merge(values, layers.parse_overrides(overrides, forms), forms)


def find_project(folder: Path | None, words: Iterable[str] = ()) -> Project:
    """Return the project of this command, KEY=VALUE words laid over its file."""
    given = layers.parse_overrides(words, forms_in(OPERATIONS))
    project = Project.find(OPERATIONS, folder)
    for verb, values in given.items():
        if verb in OPERATIONS and isinstance(values, dict):
            given[verb] = typed_here(OPERATIONS[verb].config_class(), values, project.root)
    return Project.find(OPERATIONS, folder, given) if given else project


def typed_here(cls: type[Config], values: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return settings of the command line in which paths are as the project file has them.

    Args:
        cls: Class of the settings.
        values: Settings whose paths start at the current folder, or else at the project's.
        root: The project's folder.
    """
    placed = values
    for key, value in layers.flat(values).items():
        marks = [mark for _, found in places_at(cls, key.split(".")) for mark in found]
        if any(isinstance(mark, LocalPath) for mark in marks):
            several = isinstance(value, list)
            words = [_from_root(word, root) for word in (value if several else [value])]
            one = layers.nested(key, words if several else words[0])
            placed = layers.merge(placed, one, partial(form_at, cls))
    return placed


def _from_root(word: Any, root: Path) -> Any:
    here = Path.cwd()
    if here == root or not isinstance(word, str):
        return word
    path = here / os.path.expanduser(word)
    if not glob.glob(str(path), recursive=True) and not os.path.exists(path):
        return word
    path = Path(os.path.normpath(path))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _section(project: Project, verb: str, step: str | None) -> Section:
    """Return the section of the project file that a command is about.

    Raises:
        ConfigError: There are several and none is named (``CLI-001``), or none has this name
            (``CORE-059``).
    """
    sections = project.sections(OPERATIONS)
    found = {s.step: s for s in sections if s.verb == verb}
    named = ", ".join(found)
    if step is not None and step not in found:
        raise ConfigError("CORE-059", step=step, steps=named or "-")
    if step is None and len(found) > 1:
        raise ConfigError("CLI-001", verb=verb, count=len(found), steps=named)
    if not found:
        return project.on_base(Section(verb, verb, {}, verb), sections, OPERATIONS)
    return found[step] if step else next(iter(found.values()))


def _run(
    operation: Operation, folder: Path | None, values: dict[str, Any], shared: dict[str, Any]
) -> None:
    project = find_project(folder)
    plugins.load_project_plugins(project)
    section = _section(project, operation.verb, shared["step"])
    cls = operation.config_class()
    values = typed_here(cls, values, project.root)
    config = parse(
        cls,
        layers.merge(section.values, values, partial(form_at, cls)),
        section.where,
        layers.located(section.located(project.lines), values, "command line", section.where),
    )
    with render.Terminal(shared["quiet"] or shared["as_json"]) as terminal:
        done = pipeline.execute(
            project, operation, config, section.step, [terminal], shared["fresh"]
        )
    show_done([done], shared["as_json"])


def start_detached(folder: Path | None, values: dict[str, Any]) -> None:
    """Start this very command line, without ``--detach``, as a job.

    Args:
        folder: The project.
        values: Settings of the command line, by section.

    Raises:
        ConfigError: One of them is a secret, which the list of jobs would keep (``CLI-003``).
    """
    for key in layers.flat(values):
        place = field_at(OPERATIONS, key.split("."))
        if place is not None and is_secret(*place):
            variable = layers.PREFIX + key.upper().replace(".", "__")
            raise ConfigError("CLI-003", key=key, variable=variable)
    project = find_project(folder)
    words = [word for word in click.get_current_context().obj if word != "--detach"]
    argv = [sys.executable, "-m", "llmwright.cli", *words]
    job = jobs.start(project.home, argv, Path.cwd())
    if "--json" in words:
        render.print_json({"job": job.id, "pid": job.pid})
    else:
        click.echo(text("cli.detached", job=job.id))
