"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from llmwright.core.locale import text

PROJECT = click.Path(exists=True, file_okay=False, path_type=Path)

project = click.option(
    "--project", "folder", type=PROJECT, metavar="DIR", help=text("cli.option_project")
)
as_json = click.option("--json", "as_json", is_flag=True, help=text("cli.option_json"))
