"""Commands about settings and the machine: config, plugins, doctor."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from llmwright.cli import options, render
from llmwright.cli.operation import find_project
from llmwright.core import layers, pipeline, registry, schema
from llmwright.core import plugins as project_plugins
from llmwright.core.errors import LLMwrightError
from llmwright.core.locale import text
from llmwright.core.machine import doctor as diagnosis
from llmwright.core.project import Project
from llmwright.operations import OPERATIONS


@click.group(help=text("cli.config"))
def config() -> None:
    """Hold the subcommands show and schema."""


@config.command("show", help=text("cli.config_show"))
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--origins", is_flag=True, help=text("cli.option_origins"))
@options.project
@options.as_json
def show(words: tuple[str, ...], origins: bool, folder: Path | None, as_json: bool) -> None:
    """Show the merged and validated settings of the project."""
    project = find_project(folder, words)
    project_plugins.load_project_plugins(project)
    values: layers.Values = {}
    known = dict(project.origins)
    for section, parsed in pipeline.configs(project, OPERATIONS):
        # A step of a list goes by its name, where it has one of its own.
        named = f"{section.where}.name" in known
        place = f"{section.verb}.{section.step}" if named else section.where
        values[place] = parsed.model_dump(mode="json")
        known = section.located(known)
        inside = f"{section.where}."
        known = {k.replace(inside, f"{place}.", k.startswith(inside)): known[k] for k in known}
    if as_json:
        render.print_json({"settings": values, "origins": known})
    elif origins:
        rows = [(key, value, _origin(known, key)) for key, value in layers.flat(values).items()]
        render.print_table("", [text("cli.setting"), text("cli.value"), text("cli.origin")], rows)
    else:
        click.echo(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), nl=False)


def _origin(origins: dict[str, str], key: str) -> str:
    """Return the layer a value came from."""
    # The short form of a choice (``optimizer: adamw``) gives its kind and nothing else.
    found = origins.get(key) or origins.get(key.removesuffix(".kind"))
    if not found and key.startswith("prepare.") and key.endswith(".task"):
        # The project's task is the task of its steps.
        found = origins.get("task")
    return found or text("cli.default")


@config.command("schema", help=text("cli.config_schema"))
@options.project
def show_schema(folder: Path | None) -> None:
    """Print the JSON Schema of the project file, plugins included."""
    # An editor needs it most while the file is wrong.
    project_plugins.load_project_plugins(Project.around(folder))
    render.print_json(schema.project_schema(OPERATIONS))


@click.group(invoke_without_command=True, help=text("cli.plugins"))
@options.project
@options.as_json
@click.pass_context
def plugins(ctx: click.Context, folder: Path | None, as_json: bool) -> None:
    """List the project's plugin files and everything that is registered."""
    if ctx.invoked_subcommand:
        return
    project = find_project(folder)
    found = project_plugins.project_plugins(project)
    problems: dict[Path, str] = {}
    for plugin in found:
        try:
            project_plugins.load_plugin(plugin)
        except LLMwrightError as error:
            problems[plugin.path] = error.message
    for operation in OPERATIONS.values():
        operation.config_class()
    kinds = {
        kind: {name: known.origin(name) for name in known.names()}
        for kind, known in registry.registries().items()
    }
    if as_json:
        files = [
            {
                "path": p.path,
                "sha256": p.sha256,
                "trusted": p.trusted,
                "problem": problems.get(p.path),
            }
            for p in found
        ]
        render.print_json({"files": files, "registered": kinds})
        return
    if found:
        rows = [(p.path, p.sha256[:12], _state(p, problems.get(p.path))) for p in found]
        render.print_table(text("cli.plugin_files"), ["", "sha256", ""], rows)
    listed = [
        (
            kind,
            ", ".join(
                name if origin == "built-in" else f"{name} ({origin})"
                for name, origin in names.items()
            ),
        )
        for kind, names in kinds.items()
    ]
    render.print_table(text("cli.registered"), [text("cli.kind"), text("cli.name")], listed)


def _state(plugin: project_plugins.PluginFile, problem: str | None) -> str:
    """Return in a few words whether a plugin file is used, and why not."""
    if not plugin.trusted:
        return text("cli.not_trusted")
    return text("cli.broken", reason=problem) if problem else text("cli.trusted")


@plugins.command("trust", help=text("cli.plugins_trust"))
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@options.as_json
def trust(paths: tuple[Path, ...], as_json: bool) -> None:
    """Agree that these very files may run."""
    agreed = [project_plugins.trust(path) for path in paths]
    if as_json:
        render.print_json({"trusted": {str(one.path): one.sha256 for one in agreed}})
        return
    for plugin in agreed:
        click.echo(text("cli.trusted_now", path=plugin.path, digest=plugin.sha256[:12]))


@click.command(help=text("cli.doctor"))
@options.project
@options.as_json
def doctor(folder: Path | None, as_json: bool) -> None:
    """Look at machine, libraries and project, and say what is wrong and how to mend it."""
    findings = diagnosis.examine(find_project(folder))
    if as_json:
        render.print_json({"findings": [finding.__dict__ for finding in findings]})
    else:
        marks = {"ok": "✓", "warning": "!", "error": "✗"}
        rows = [(marks[f.level], f.name, f.value, f.fix) for f in findings]
        render.print_table("", ["", "", "", text("cli.what_to_do")], rows)
    if any(finding.level == "error" for finding in findings):
        raise click.exceptions.Exit(1)
