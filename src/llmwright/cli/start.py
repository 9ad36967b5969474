"""Commands that begin and run a project: init, demo, run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from llmwright.cli import options, render
from llmwright.cli.operation import common_options, find_project, start_detached
from llmwright.cli.results import describe, show_done, show_tables
from llmwright.core import layers, pipeline
from llmwright.core.locale import text
from llmwright.core.project import forms_in
from llmwright.operations import OPERATIONS


@click.command(help=text("cli.init"))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--recipe", metavar="NAME", help=text("cli.option_recipe"))
@click.option("--data", metavar="PATH", help=text("cli.option_data"))
@click.option("--task", metavar="TASK", help=text("cli.option_task"))
@click.option("--list", "as_list", is_flag=True, help=text("cli.option_list_recipes"))
@options.as_json
def init(
    folder: Path,
    recipe: str | None,
    data: str | None,
    task: str | None,
    as_list: bool,
    as_json: bool,
) -> None:
    """Write a project file, empty or from a recipe."""
    from llmwright.recipes import blank, shipped

    if as_list:
        known = shipped.recipes()
        if as_json:
            render.print_json({"recipes": {name: one.summary for name, one in known.items()}})
        else:
            rows = [(name, one.summary) for name, one in known.items()]
            render.print_table("", [text("cli.name"), text("cli.about_column")], rows)
        return
    if recipe and (data or task):
        raise click.UsageError(text("cli.recipe_or_data"))
    file = shipped.copy(shipped.find(recipe), folder) if recipe else blank.write(folder, data, task)
    if as_json:
        render.print_json({"file": str(file)})
    else:
        click.echo(text("cli.init_done", path=file))


@click.command(help=text("cli.demo"))
@click.argument("name", default="weather")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help=text("cli.option_demo_folder"),
)
@options.as_json
@click.option("--quiet", "-q", is_flag=True, help=text("cli.option_quiet"))
def demo(name: str, folder: Path | None, as_json: bool, quiet: bool) -> None:
    """Run a recipe from raw text to an answer over HTTP."""
    from llmwright.recipes import demonstration, shipped

    with render.Terminal(quiet or as_json) as terminal:
        shown = demonstration.run(shipped.find(name), folder, [terminal])
    if as_json:
        steps = [describe(one) for one in shown.done]
        body = {"folder": str(shown.folder), "command": shown.command, "reply": shown.reply}
        render.print_json({**body, "seconds": shown.seconds, "steps": steps})
        return
    show_tables([one.artifact for one in shown.done if one.artifact is not None])
    click.echo(f"\n{text('cli.request')}\n  {shown.command}")
    reply = json.dumps(shown.reply, ensure_ascii=False)
    click.echo(f"{text('cli.reply')}\n  {reply}")
    click.echo(f"\n{text('cli.demo_done', seconds=render.seconds(shown.seconds))}")
    click.echo(text("cli.next", folder=shlex.quote(str(shown.folder)), step=shown.served))


def _run(
    words: tuple[str, ...],
    folder: Path | None,
    as_json: bool,
    quiet: bool,
    detach: bool,
    fresh: bool,
    only: tuple[str, ...],
) -> None:
    if detach:
        start_detached(folder, layers.parse_overrides(words, forms_in(OPERATIONS)))
        return
    project = find_project(folder, words)
    with render.Terminal(quiet or as_json) as terminal:
        done = pipeline.run_project(project, OPERATIONS, [terminal], only, fresh)
    show_done(done, as_json)


run = click.Command(
    "run",
    callback=_run,
    help=f"{text('cli.run')}\n\n{text('cli.run_overrides')}",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[KEY=VALUE]..."),
        click.Option(["--only"], multiple=True, metavar="STEP", help=text("cli.option_only")),
        *common_options(),
    ],
)
