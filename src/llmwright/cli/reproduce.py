"""The command reproduce: a run again, from its lock."""

from __future__ import annotations

from pathlib import Path

import click

from llmwright.cli import options, render
from llmwright.cli.operation import find_project
from llmwright.cli.results import show_tables
from llmwright.core.locale import text


@click.command(help=text("cli.reproduce"))
@click.argument("reference")
@click.option(
    "--tolerance", type=float, default=0.0, metavar="NUMBER", help=text("cli.option_tolerance")
)
@options.project
@options.as_json
def reproduce(reference: str, tolerance: float, folder: Path | None, as_json: bool) -> None:
    """Run again what made an artifact and compare; fails when it is not the same."""
    from llmwright import api

    project = find_project(folder)
    with render.Terminal(as_json) as terminal:
        report = api.reproduce(
            reference, tolerance=tolerance, project=project, consumers=[terminal]
        )
    if as_json:
        render.print_json(report.metadata["reproduction"] | {"report": report.id})
    else:
        show_tables([report])
    raise click.exceptions.Exit(0 if report.metadata["passed"] else 1)
