"""Talking with a model in a terminal: turns, commands that begin with a slash, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmwright.cli import render
from llmwright.core.errors import LLMwrightError
from llmwright.core.locale import text

if TYPE_CHECKING:
    from llmwright.api import Conversation

# Stands alone on the lines before and after a turn of several lines.
FENCE = '"""'
# At the end of a line: the turn goes on in the next one.
MORE = "\\"


class Ended(Exception):
    """The person wants to leave."""


class Talk:
    """One person talking with a model.

    Args:
        conversation: The model.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._commands: dict[str, Callable[[str], None]] = {
            "help": self._help,
            "system": self._system,
            "style": self._style,
            "set": self._set,
            "temperature": lambda value: self._set(f"temperature={value}"),
            "undo": self._undo,
            "reset": self._reset,
            "save": self._save,
            "exit": self._exit,
        }

    def run(self) -> None:
        """Talk until the person ends it."""
        # Arrow keys and earlier turns, where Python was built with it.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        click.echo(text("cli.chat_hint", name=self._conversation.name))
        warned = False
        while True:
            try:
                said = self._listen()
                warned = False
                if said.strip():
                    self._answer(said)
            except KeyboardInterrupt:
                click.echo()
                if warned:
                    return
                warned = True
                click.echo(text("cli.chat_leave"))
            except (EOFError, Ended):
                click.echo()
                return
            except LLMwrightError as error:
                render.print_error(error.code, error.message, error.fix, None)

    def _listen(self) -> str:
        """Return one turn; several lines between fences, or each ending with a backslash."""
        line = input(f"{text('cli.you')} › ")
        if line.strip() == FENCE:
            lines: list[str] = []
            while (line := input("… ")).strip() != FENCE:
                lines.append(line)
            return "\n".join(lines)
        lines = [line]
        while lines[-1].endswith(MORE):
            lines.append(input("… "))
        return "\n".join(line.removesuffix(MORE) for line in lines)

    def _answer(self, said: str) -> None:
        if said.startswith("/"):
            name, _, rest = said[1:].partition(" ")
            command = self._commands.get(name)
            if command is None:
                click.echo(text("cli.chat_unknown", name=name))
            else:
                command(rest.strip())
            return
        pieces = self._conversation.say(said)
        click.echo(f"{text('cli.model')} › ", nl=False)
        try:
            for piece in pieces:
                click.echo(piece, nl=False)
            click.echo()
        except KeyboardInterrupt:
            # The answer stops, the talk goes on.
            pieces.close()
            click.echo(f"\n{text('cli.chat_stopped')}")
        dropped = self._conversation.dropped
        if dropped:
            click.echo(text("cli.chat_dropped", count=dropped))

    def _help(self, _: str) -> None:
        click.echo(text("cli.chat_help", fence=FENCE, more=MORE))

    def _system(self, words: str) -> None:
        self._conversation.tell(words)
        click.echo(text("cli.chat_system" if words else "cli.chat_no_system"))

    def _style(self, words: str) -> None:
        if words:
            self._conversation.set_controls(_pairs(words))
        known, chosen = self._conversation.controls
        for name, values in known.items():
            click.echo(f"  {name} = {chosen.get(name, 'any')}   ({', '.join(values)})")
        if not known:
            click.echo(text("cli.chat_no_styles"))

    def _set(self, words: str) -> None:
        if words:
            found = {name: _number(value) for name, value in _pairs(words).items()}
            self._conversation.set_generation(**found)
        shown = self._conversation.generation
        click.echo("  " + (", ".join(f"{n} = {v}" for n, v in shown.items()) or "-"))

    def _undo(self, _: str) -> None:
        self._conversation.undo()
        click.echo(text("cli.chat_undone"))

    def _reset(self, _: str) -> None:
        self._conversation.reset()
        click.echo(text("cli.chat_reset"))

    def _save(self, words: str) -> None:
        path = Path(words or "conversation.jsonl").expanduser()
        line = json.dumps({"messages": self._conversation.said}, ensure_ascii=False)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            click.echo(text("cli.chat_not_saved", path=path, reason=error.strerror))
            return
        click.echo(text("cli.chat_saved", path=path))

    def _exit(self, _: str) -> None:
        raise Ended


def _pairs(words: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` words as a mapping."""
    split = [word.partition("=") for word in words.split()]
    return {name: value for name, _, value in split}


def _number(value: str) -> float | int | str:
    """Return a number where a value is one."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value
