"""The confusion matrix as a picture that stays legible from 2 to a hundred labels.

Rows are references, columns are predictions; a cell's strength is its share of the row. Right
answers and confusions have different colours, so mistakes stand out however few they are.
"""

from __future__ import annotations

from llmwright.evaluation.page.charts import label, shortened, svg, text_width
from llmwright.evaluation.report import Confusion
from llmwright.inference.page.markup import Markup, join, tag

MAX_NUMBERED = 16
SIZE = 1000.0


def heat_map(confusion: Confusion, title: Markup) -> Markup:
    """Return the matrix; with many labels without numbers, which the tooltips keep."""
    num_labels = len(confusion.labels)
    numbered = num_labels <= MAX_NUMBERED
    font = 12.0 if numbered else max(5.5, min(10.5, 700 / num_labels))
    letters = 26 if numbered else 30
    longest = max(text_width(shortened(name, letters)) for name in confusion.labels)
    gutter = longest * font * 0.6 + 12
    cell = min(84.0, (SIZE - gutter) / num_labels)
    shapes = [_names(confusion, gutter, cell, font, letters)]
    for i, row in enumerate(confusion.counts):
        total = max(1, sum(row))
        shapes += [
            _cell(confusion, i, j, count, count / total, (gutter, cell), numbered)
            for j, count in enumerate(row)
            if count
        ]
    side = cell * num_labels
    frame = tag("rect", x=gutter, y=gutter, width=side, height=side, class_="frame")
    return svg(gutter + side + 2, gutter + side + 2, frame, *shapes, title=title)


def _cell(
    confusion: Confusion,
    i: int,
    j: int,
    count: int,
    share: float,
    place: tuple[float, float],
    numbered: bool,
) -> Markup:
    gutter, cell = place
    x, y = gutter + j * cell, gutter + i * cell
    # The root lifts rare confusions out of the background.
    strength = 0.2 + 0.8 * share**0.5
    note = f"{confusion.labels[i]} → {confusion.labels[j]}: {count} ({share:.1%})"
    box = tag(
        "rect",
        tag("title", note),
        x=x + 0.5,
        y=y + 0.5,
        width=cell - 1,
        height=cell - 1,
        class_="hit" if i == j else "miss",
        fill_opacity=strength,
    )
    if not numbered:
        return box
    css = "count strong" if strength > 0.6 else "count"
    return join(box, label(x + cell / 2, y + cell / 2 + 4, str(count), "middle", css))


def _names(confusion: Confusion, gutter: float, cell: float, font: float, letters: int) -> Markup:
    shapes = []
    for i, name in enumerate(confusion.labels):
        center = gutter + (i + 0.5) * cell
        short = shortened(name, letters)
        shapes.append(label(gutter - 5, center + font * 0.35, short, "end"))
        turned = f"translate({center + font * 0.35:.1f},{gutter - 5:.1f}) rotate(-90)"
        shapes.append(tag("text", short, transform=turned))
    return tag("g", *shapes, style=f"font-size:{font:g}px")
