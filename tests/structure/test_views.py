"""Command line, Python API and JSON Schema show the same settings as the config classes."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
import pytest

import llmwright
from llmwright import api
from llmwright.cli.main import COMMANDS, Table, cli
from llmwright.cli.operation import COMMON, command_of
from llmwright.core import project, schema
from llmwright.core.config import Config
from llmwright.core.operation import Operation
from llmwright.operations import OPERATIONS

ROOT = Path(__file__).parents[2]
ROWS = list(OPERATIONS.values())
EXTRA = {"project", "consumers"}


def by_verb(operation: Operation) -> str:
    return operation.verb


@pytest.mark.parametrize("operation", ROWS, ids=by_verb)
def test_api_has_the_fields_with_their_defaults(operation: Operation) -> None:
    fields = operation.config_class().model_fields
    parameters = inspect.signature(getattr(api, operation.verb)).parameters
    assert set(parameters) == set(fields) | EXTRA
    for name, field in fields.items():
        given = parameters[name]
        assert given.kind is inspect.Parameter.KEYWORD_ONLY
        assert given.annotation is not inspect.Parameter.empty
        if field.is_required():
            assert given.default is inspect.Parameter.empty
        elif given.default is not api.DEFAULT:
            assert given.default == field.get_default(call_default_factory=True), name
            assert type(given.default) in (int, float, str, bool, type(None))


@pytest.mark.parametrize("operation", ROWS, ids=by_verb)
def test_command_line_has_the_fields(operation: Operation) -> None:
    command = command_of(operation)
    fields = set(operation.config_class().model_fields)
    options = {p.name for p in command.params if isinstance(p, click.Option)}
    assert {f"field_{name}" for name in fields} == {n for n in options if n.startswith("field_")}
    assert not fields & set(COMMON), "a field hides an option that every command has"
    assert not operation.argument or operation.argument in fields


@pytest.mark.parametrize("operation", ROWS, ids=by_verb)
def test_every_option_has_help_with_its_default(operation: Operation) -> None:
    with click.Context(command_of(operation)) as context:
        text = command_of(operation).get_help(context)
    for field in schema.fields_of(operation.config_class()):
        assert f"--{field.name.replace('_', '-')}" in text
        assert len(field.help) > 15, field.name


def test_schema_has_the_fields() -> None:
    whole = schema.project_schema(OPERATIONS)
    assert set(whole["properties"]) == {*OPERATIONS, *project.HEAD}
    for operation in ROWS:
        one = whole["properties"][operation.verb]["oneOf"][0]
        assert set(one["properties"]) == {*operation.config_class().model_fields, *operation.beside}


def test_rows_can_be_imported() -> None:
    for operation in ROWS:
        assert issubclass(operation.config_class(), Config)
        assert callable(operation.load())


def test_group_lists_operations_and_commands() -> None:
    assert isinstance(cli, Table)
    with click.Context(cli) as context:
        assert set(cli.list_commands(context)) == {*OPERATIONS, *COMMANDS}
        for name in COMMANDS:
            command = cli.get_command(context, name)
            assert command is not None
            assert command.get_help(context)


def test_planned_operations_have_no_row_yet() -> None:
    assert not set(project.PLANNED) & set(OPERATIONS)


def test_public_names_exist() -> None:
    for name in llmwright.__all__:
        assert getattr(llmwright, name) is not None
    assert set(OPERATIONS) <= set(llmwright.__all__)
    assert set(dir(llmwright)) == {*llmwright.__all__, "__version__"}
