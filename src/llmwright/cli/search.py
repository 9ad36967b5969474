"""The command that asks documents without a server."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmwright.cli import options, render
from llmwright.cli.operation import find_project, typed_here
from llmwright.core import plugins
from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.operations import OPERATIONS

if TYPE_CHECKING:
    from llmwright.knowledge.search import Hit, Knowledge

WIDTH = 100


@click.command(help=text("cli.search"))
@click.argument("question")
@click.option("--knowledge", metavar="DIR", help=text("cli.option_knowledge"))
@click.option("--encoder", metavar="REF", help=text("cli.option_encoder"))
@click.option("--passages", type=click.IntRange(1), metavar="INT", help=text("cli.option_passages"))
@options.project
@options.as_json
def search(
    question: str,
    knowledge: str | None,
    encoder: str | None,
    passages: int | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Find passages of documents."""
    from llmwright import api

    project = find_project(folder)
    plugins.load_project_plugins(project)
    given = [s.values.get("knowledge") for s in project.sections(OPERATIONS) if s.verb == "serve"]
    settings = _settings(next(filter(None, given), None))
    if knowledge is not None:
        serve = OPERATIONS["serve"].config_class()
        settings["folder"] = typed_here(serve, {"knowledge": knowledge}, project.root)["knowledge"]
    if "folder" not in settings:
        raise ConfigError("CLI-004", where="serve.knowledge")
    settings |= {} if encoder is None else {"encoder": encoder}
    with render.Terminal(as_json) as terminal:
        found = api.documents(settings, project=project, consumers=[terminal])
        hits = found.search(question, passages)
    if as_json:
        render.print_json([_plain(hit) for hit in hits])
    else:
        _show(found, hits)


def _settings(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    return dict(value) if isinstance(value, dict) else {"folder": value}


def _show(found: Knowledge, hits: list[Hit]) -> None:
    if not found.known(hits):
        click.echo(text("cli.search_unknown"))
    for hit in hits:
        passage = hit.passage
        row = text("cli.search_row", row=passage.row) if passage.row else ""
        place = " · ".join(part for part in (passage.source, passage.heading, row) if part)
        click.secho(f"{hit.score:4.0%}  {place}", bold=True)
        for paragraph in passage.text.splitlines():
            click.echo(textwrap.indent(textwrap.fill(paragraph, WIDTH), "      "))


def _plain(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    return {
        "score": round(hit.score, 4),
        "source": passage.source,
        "heading": passage.heading,
        "row": passage.row,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
    }
