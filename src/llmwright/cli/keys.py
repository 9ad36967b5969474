"""The command keys: who may ask a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from llmwright.cli import options, render
from llmwright.core.locale import text

DEFAULT_FILE = Path("keys.json")

_file = click.option(
    "--file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    metavar="PATH",
    help=text("cli.option_keys_file"),
)


def _limit(name: str) -> Callable[[Any], Any]:
    return click.option(name, type=int, metavar="INT", help=text("cli.option_keys_limit"))


@click.group(help=text("cli.keys"))
def keys() -> None:
    """Hold the subcommands create, revoke and list."""


@keys.command("create", help=text("cli.keys_create"))
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("infer", "metrics"),
    metavar="infer|metrics|admin",
    help=text("cli.option_keys_scope"),
)
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help=text("cli.option_keys_model")
)
@_limit("--requests-per-minute")
@_limit("--tokens-per-minute")
@_limit("--max-concurrency")
@click.option("--days", type=int, metavar="INT", help=text("cli.option_keys_days"))
@_file
@options.as_json
def create(name: str, as_json: bool, file: Path, **settings: Any) -> None:
    """Make a key and show it, this once."""
    from llmwright import api

    made, plain = api.create_key(name, file=file, **settings)
    if as_json:
        render.print_json({"key": plain, **made.model_dump(mode="json", exclude={"digest"})})
        return
    click.echo(plain)
    click.echo(text("cli.key_created", id=made.id, path=file), err=True)


@keys.command("revoke", help=text("cli.keys_revoke"))
@click.argument("key", metavar="ID|NAME")
@_file
@options.as_json
def revoke(key: str, file: Path, as_json: bool) -> None:
    """Take a key back."""
    from llmwright import api

    gone = api.revoke_key(key, file=file)
    if as_json:
        render.print_json(gone.model_dump(mode="json", exclude={"digest"}))
        return
    click.echo(text("cli.key_revoked", id=gone.id, name=gone.name))


@keys.command("list", help=text("cli.keys_list"))
@_file
@options.as_json
def list_all(file: Path, as_json: bool) -> None:
    """Show all keys of a file, without what opens anything."""
    from llmwright import api

    found = api.list_keys(file=file)
    if as_json:
        render.print_json(
            {"keys": [key.model_dump(mode="json", exclude={"digest"}) for key in found]}
        )
        return
    headings = ["id", *(text(f"cli.keys_column_{name}") for name in COLUMNS)]
    rows = [
        (
            key.id,
            key.name,
            ", ".join(key.scopes),
            ", ".join(key.models) or "*",
            key.requests_per_minute or "",
            key.tokens_per_minute or "",
            key.max_concurrency or "",
            text("cli.key_holds" if key.holds() else "cli.key_no_more"),
        )
        for key in found
    ]
    render.print_table("", headings, rows)


COLUMNS = ("name", "scopes", "models", "requests", "tokens", "concurrency", "state")
