"""The command plan: what training would take, and three rows as the model will see them."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from llmwright.cli import options, render
from llmwright.core.locale import text

TERMS = (
    "process",
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "checkpoint",
    "allocator",
)
TIMES = ("start", "steps", "evaluations", "samples", "checkpoints", "finish")
SVG_WIDTH = 100

LEARNED, READ, LEARNED_SPECIAL, SPECIAL = "green", "bright_black", "bold green underline", "magenta"


@click.command(help=f"{text('cli.plan')}\n\n{text('cli.run_overrides')}")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--only", multiple=True, metavar="STEP", help=text("cli.option_only"))
@click.option("--measure/--no-measure", default=True, help=text("cli.option_measure"))
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
    help=text("cli.option_svg"),
)  # fmt: skip
@options.project
@options.as_json
def plan(
    words: tuple[str, ...],
    only: tuple[str, ...],
    measure: bool,
    svg: Path | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Say what training would take; fails when it would not fit or could not learn to stop."""
    from llmwright import api
    from llmwright.cli.operation import find_project

    project = find_project(folder, words)
    with render.Terminal(as_json) as terminal:
        found = api.plan(project, only=only, measure=measure, consumers=[terminal])
    if svg is not None:
        picture(found, svg)
    if as_json:
        render.print_json({"plans": found})
    else:
        for step, body in found.items():
            show(step, body)
    raise click.exceptions.Exit(0 if all(is_sound(body) for body in found.values()) else 1)


def is_sound(body: Mapping[str, Any]) -> bool:
    """Say whether a planned run would fit and could learn to stop."""
    memory, stops = body.get("memory"), body.get("stops")
    return (memory is None or memory["fits"]) and (stops is None or stops["passed"])


def show(step: str, body: Mapping[str, Any]) -> None:
    """Write one plan to stdout."""
    if "error" in body:
        render.print_table(step, ["", ""], [(body["error"]["message"], body["error"]["fix"])])
        return
    render.print_table(step, ["", ""], facts(body))
    if body["memory"] is not None:
        render.print_table(text("cli.plan_memory"), ["", ""], memory_rows(body["memory"]))
    for sentence in body["remedies"]:
        click.echo(f"  → {sentence}")
    if body["pace"] is not None:
        render.print_table(text("cli.plan_time"), ["", ""], time_rows(body["pace"]))
    console = Console(highlight=False, soft_wrap=True)
    for line in sample_lines(body, marked=not console.is_terminal):
        console.print(line)


def facts(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of what is known without measuring."""
    share = body["trainable"] / max(1, body["parameters"])
    number = render.number
    found = [
        (text("cli.plan_task"), f"{body['task']}, {body['objective']}"),
        (text("cli.plan_model"), f"{body['model']}, {number(body['parameters'])}"),
        (text("cli.plan_trainable"), f"{number(body['trainable'])} ({share:.1%})"),
        (text("cli.plan_rows"), number(body["rows"])),
        (text("cli.plan_steps"), number(body["steps"])),
        (text("cli.plan_tokens"), number(body["tokens"])),
        (text("cli.plan_device"), f"{body['device']}, {body['precision']}"),
    ]
    if body["disk"] is not None:
        disk = {name: render.size(value) for name, value in body["disk"].items()}
        found.append((text("cli.plan_disk"), text("cli.plan_disk_values", None, **disk)))
    return found


def memory_rows(memory: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the terms of the peak, their sum, and what is available."""
    rows = [(text(f"training.term_{name}"), render.size(memory[name])) for name in TERMS]
    batch = text("cli.plan_batch", rows=memory["rows"], places=render.number(memory["places"]))
    mark = "✓" if memory["fits"] else "✗"
    sizes = [render.size(memory[name]) for name in ("still_to_take", "available")]
    return [
        *rows,
        (text("cli.plan_peak"), f"{render.size(memory['peak'])}  ({batch})"),
        (text("cli.plan_fits"), f"{mark} {text('cli.plan_needs', needed=sizes[0], free=sizes[1])}"),
    ]


def time_rows(pace: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parts of the time, and all of it as a range."""
    rows = [(text(f"cli.plan_{name}_time"), render.seconds(pace[name])) for name in TIMES]
    mean = text(
        "cli.plan_step_time",
        step=f"{pace['step']:.3g}",
        tokens=render.number(round(pace["tokens_per_second"])),
        measured=pace["measured"],
    )
    rows[1] = (rows[1][0], f"{rows[1][1]}  ({mean})")
    total = f"{render.seconds(pace['low'])} – {render.seconds(pace['high'])}"
    return [*rows, (text("cli.plan_total_time"), total)]


def sample_lines(body: Mapping[str, Any], marked: bool) -> list[Text]:
    """Return the sample rows as coloured lines, and what the colours mean.

    Args:
        body: A plan.
        marked: Put learned tokens in brackets, for where there are no colours.
    """
    legend = Text.assemble(
        (text("cli.plan_learned"), LEARNED),
        "  ",
        (text("cli.plan_read"), READ),
        "  ",
        (text("cli.plan_special"), SPECIAL),
        "  ",
        (text("cli.plan_special_learned"), LEARNED_SPECIAL),
        f"  {text('cli.plan_marked')}" if marked else "",
    )
    lines = [Text(f"\n{text('cli.plan_samples')}", style="bold"), legend]
    for row in body["samples"]:
        counts = text("cli.plan_row", learned=row["num_learned"], tokens=row["num_tokens"])
        cut = f", {text('cli.plan_cut')}" if row["truncated"] else ""
        lines.append(Text(f"\n{row['where']}  {counts}{cut}", style="bold"))
        lines.append(coloured(row["read"], marked))
        if row["rejected"]:
            lines.append(
                Text.assemble(f"{text('cli.plan_rejected')} ", coloured(row["rejected"], marked))
            )
        if row["target"]:
            lines.append(Text.assemble("→ ", coloured(row["target"], marked)))
        if row["answer"]:
            lines.append(Text.assemble("→ ", (row["answer"], LEARNED)))
    return [*lines, *stop_lines(body["stops"])]


def coloured(pieces: list[dict[str, Any]], marked: bool) -> Text:
    """Return a row's tokens, each in the colour of what is done with it."""
    line = Text()
    for piece in pieces:
        if piece["special"]:
            style = LEARNED_SPECIAL if piece["learned"] else SPECIAL
        else:
            style = LEARNED if piece["learned"] else READ
        shown = f"⟦{piece['text']}⟧" if marked and piece["learned"] else piece["text"]
        line.append(shown, style)
    return line


def stop_lines(stops: Mapping[str, Any] | None) -> list[Text]:
    """Return whether the model can learn to stop."""
    if stops is None:
        return []
    named = ", ".join(stops["tokens"]) or "–"
    right = stops["answers"] - stops["without_stop"]
    said = text("cli.plan_stops", tokens=named, right=right, answers=stops["answers"])
    line = Text.assemble("\n", ("✓ ", "green") if stops["passed"] else ("✗ ", "red"), said)
    if stops["without_stop"]:
        line.append(" " + text("cli.plan_first_without", where=stops["first"]))
    if not stops["known"]:
        line.append(" " + text("cli.plan_unknown_stop"))
    return [line]


def picture(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write the sample rows of all plans as a picture."""
    console = Console(file=io.StringIO(), record=True, width=SVG_WIDTH, force_terminal=True)
    for body in found.values():
        for line in sample_lines(body, marked=False) if "samples" in body else ():
            console.print(line)
    # A picture that opens without a network: the viewer's own fixed-width font will do.
    drawn = re.sub(
        r"@font-face \{.*?\}\s*", "", console.export_svg(title="llmwright plan"), flags=re.S
    )
    path.write_text(drawn, encoding="utf-8")
