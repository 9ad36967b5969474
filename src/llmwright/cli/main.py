"""The command line: a group whose commands are built when they are chosen.

Operations come from the table; the other commands are listed here with the module that has them.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from llmwright import __version__
from llmwright.core.errors import LLMwrightError
from llmwright.core.locale import text, text_or
from llmwright.core.registry import load_object
from llmwright.operations import OPERATIONS

# Command → module:name of a click command. Order is the order of the help text.
COMMANDS = {
    "init": "llmwright.cli.start:init",
    "demo": "llmwright.cli.start:demo",
    "run": "llmwright.cli.start:run",
    "plan": "llmwright.cli.plan:plan",
    "predict": "llmwright.cli.ask:predict",
    "chat": "llmwright.cli.ask:chat",
    "search": "llmwright.cli.search:search",
    "runs": "llmwright.cli.records:runs",
    "artifacts": "llmwright.cli.records:artifacts",
    "lineage": "llmwright.cli.records:lineage",
    "reproduce": "llmwright.cli.reproduce:reproduce",
    "keys": "llmwright.cli.keys:keys",
    "plugins": "llmwright.cli.settings:plugins",
    "config": "llmwright.cli.settings:config",
    "doctor": "llmwright.cli.settings:doctor",
}

# What click says where the class of its error does not tell.
EXTRA = "Got unexpected extra argument"
NO_VALUE = "does not take a value"
HELP_OPTION = "Show this message and exit."


class Help(click.HelpFormatter):
    """Writes in the user's language what click says in English alone."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how the command is called."""
        super().write_usage(prog, args, f"{text('cli.usage')} ")

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Write a heading, and below it what is written within this block."""
        with super().section(text_or(f"cli.heading_{name.lower()}", name)):
            yield

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write options or commands with what they do."""
        known = {HELP_OPTION: text("cli.option_help")}
        super().write_dl([(a, known.get(b, b)) for a, b in rows], col_max, col_spacing)


# Each command has a context of its own, and makes it itself.
click.Context.formatter_class = Help


class Table(click.Group):
    """A group that knows all names but imports only the command that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the help text."""
        return [*COMMANDS, *OPERATIONS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import or build one command."""
        if cmd_name in OPERATIONS:
            from llmwright.cli.operation import command_of

            return command_of(OPERATIONS[cmd_name])
        if cmd_name in COMMANDS:
            command: click.Command = load_object(COMMANDS[cmd_name])
            return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with the closest name."""
        name = args[0]
        if name not in COMMANDS and name not in OPERATIONS and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
            hint = text("cli.did_you_mean", name=near[0]) if near else text("cli.see_help")
            raise click.UsageError(text("cli.unknown_command", name=name) + " " + hint, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the two lists of commands without importing any of them."""
        with formatter.section(text("cli.heading_project")):
            formatter.write_dl([(name, text(f"cli.{name}")) for name in COMMANDS])
        with formatter.section(text("cli.heading_operations")):
            formatter.write_dl([(name, text(f"cli.{name}")) for name in OPERATIONS])


@click.group(
    cls=Table,
    help=text("cli.about"),
    epilog=text("cli.epilog"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="llmwright", help=text("cli.option_version"))
def cli() -> None:
    """Hold the commands; each does its own work."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with 0 (done), 1 (failed) or 2 (asked wrongly)."""
    sys.exit(invoke(list(sys.argv[1:] if args is None else args)))


def invoke(args: list[str]) -> int:
    """Run one command and return its exit code; every error is shown, none is raised."""
    as_json = "--json" in args
    try:
        # Commands that start themselves again need the words as they were typed.
        ended = cli.main(args=list(args), prog_name="llmwright", standalone_mode=False, obj=args)
    except LLMwrightError as error:
        return show_error(
            error.code,
            error.message,
            error.fix,
            error.where,
            error.exit_code,
            as_json,
            error.values,
        )
    except click.Abort:
        return show_error("CLI-130", text("cli.interrupted"), "", None, 1, as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        fix = text("cli.see_help_of", command=_path_of(error))
        return show_error("CLI-002", message_of(error), fix, None, 2, as_json)
    except BrokenPipeError:
        return 1
    except Exception as error:  # a defect of ours: show it whole
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        return show_error("CORE-099", message, text("cli.defect"), None, 1, as_json)
    # The code of a command that ended by `click.exceptions.Exit`; others return nothing.
    return ended if isinstance(ended, int) else 0


def message_of(error: click.ClickException) -> str:
    """Return what was asked wrongly in the user's language."""
    match error:
        case click.NoSuchOption():
            near = (text("cli.did_you_mean", name=name) for name in error.possibilities or ())
            return " ".join([text("cli.no_such_option", name=error.option_name), *near])
        case click.BadOptionUsage():
            key = "cli.flag_has_value" if NO_VALUE in error.message else "cli.needs_value"
            return text(key, name=error.option_name)
        case click.MissingParameter(param=click.Parameter() as param):
            return text("cli.missing", name=param.get_error_hint(error.ctx))
        case click.BadParameter(param=click.Parameter() as param):
            value, reason = _reason(param, error.message)
            return text("cli.bad_value", name=param.opts[-1], value=value, reason=reason)
        case click.UsageError(ctx=click.Context()) if error.message.startswith(EXTRA):
            return text("cli.extra", words=error.message.partition("(")[2].rpartition(")")[0])
    return error.format_message()


def _reason(param: click.Parameter, message: str) -> tuple[str, str]:
    """Return the value, which click quotes in its message, and what is wrong with it."""
    quoted = re.search("'.*'", message)
    keys = {"integer": "core.value_int_parsing", "float": "core.value_float_parsing"}
    key = "cli.no_folder" if isinstance(param.type, click.Path) else keys.get(param.type.name)
    return quoted[0] if quoted else "", text(key) if key else message


def _path_of(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context else "llmwright"


def show_error(
    code: str,
    message: str,
    fix: str,
    where: str | None,
    exit_code: int,
    as_json: bool,
    values: Mapping[str, object] | None = None,
) -> int:
    """Write one error for a person (stderr) or a program (stdout) and return the exit code.

    A program also gets the values that the message is about.
    """
    from llmwright.cli import render

    if as_json:
        body: dict[str, Any] = {"code": code, "message": message, "fix": fix, "where": where}
        render.print_json({"error": body | {"values": values or {}}})
    else:
        render.print_error(code, message, fix, where)
    return exit_code
