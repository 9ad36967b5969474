"""Bars with interval whiskers, lines and columns as inline SVG, coloured by the page's theme.

All sizes are in units of the SVG's own coordinate system, which the page scales to its width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmwright.evaluation.page.sentences import words
from llmwright.evaluation.report import Bin
from llmwright.inference.page.markup import Markup, join, number, tag

WIDTH = 1040
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 46, 14, 12, 44


@dataclass(frozen=True)
class Bar:
    """One horizontal bar: a share from 0 to 1, its interval, and the text at its end."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Line:
    """One curve: points with x and y from 0 to 1."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def svg(width: float, height: float, *children: str, title: Markup) -> Markup:
    """Return a picture that scales to the page, with its title for screen readers."""
    least = min(width, 620)
    return tag(
        "figure",
        tag("figcaption", title),
        tag(
            "svg",
            *children,
            viewBox=f"0 0 {width:g} {height:g}",
            role="img",
            style=f"max-width:{width:g}px;min-width:{least:g}px",
        ),
        # Beside something else, it takes a row of its own rather than being cut.
        style=f"flex-basis:{least:g}px",
    )


def label(x: float, y: float, text: str, anchor: str = "start", css: str = "") -> Markup:
    """Return a text in a picture."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=css or None)


def bars(rows: Sequence[Bar], title: Markup) -> Markup:
    """Return horizontal bars from 0 to 1 with whiskers for their intervals."""
    gutter = min(250.0, 24 + 7.2 * max((text_width(row.label) for row in rows), default=0))
    step = 26 if len(rows) <= 24 else 17
    span = WIDTH - gutter - 156
    height = len(rows) * step + 30
    shapes = [_grid_line(gutter + span * t / 4, height - 24, t / 4) for t in range(5)]
    for i, row in enumerate(rows):
        middle = 8 + i * step + step / 2
        shapes.append(label(gutter - 8, middle + 4, shortened(row.label, 30), "end"))
        shapes.append(
            tag(
                "rect",
                tag("title", f"{row.label}: {row.text}"),
                x=gutter,
                y=middle - step * 0.32,
                width=max(0.5, span * _inside(row.value)),
                height=step * 0.64,
                rx=2,
                class_="bar",
            )
        )
        shapes.append(_whisker(gutter, span, middle, row))
        shapes.append(label(WIDTH - 142, middle + 4, row.text, css="value"))
    return svg(WIDTH, height, *shapes, title=title)


def lines(
    curves: Sequence[Line], title: Markup, x_key: str, y_key: str, diagonal: bool = False
) -> Markup:
    """Return curves in a unit square with a legend below."""
    size = 440.0
    # Long names get a line each, short ones share it.
    across = 1 if any(text_width(curve.label) > 26 for curve in curves) else 2
    legend_height = 20 * ((len(curves) + across - 1) // across)
    shapes = [_axes(size, size, x_key, y_key)]
    if diagonal:
        shapes.append(_path([(0, 0), (1, 1)], size, size, "reference"))
    for i, curve in enumerate(curves):
        points = list(zip(curve.x, curve.y, strict=True))
        shapes.append(_path(points, size, size, f"line c{i}"))
        left = MARGIN_LEFT + (i % across) * size * 0.46
        down = size + 16 + 20 * (i // across)
        shapes.append(tag("rect", x=left, y=down - 8, width=14, height=4, class_=f"fill c{i}"))
        shapes.append(label(left + 20, down - 2, shortened(curve.label, 26 * 3 // across)))
    return svg(size, size + legend_height + 12, *shapes, title=title)


def columns(
    bins: Sequence[Bin],
    title: Markup,
    x_key: str,
    y_key: str,
    *,
    heights: str = "mean_y",
    diagonal: bool = False,
) -> Markup:
    """Return upright columns over ranges of x.

    Args:
        bins: The ranges, in order.
        title: What the picture shows.
        x_key: Sentence below the x axis.
        y_key: Sentence beside the y axis.
        heights: ``mean_y`` (0 to 1) or ``num_rows`` (up to the largest).
        diagonal: x runs from 0 to 1 and a line shows where y equals x.
    """
    width, height = 440.0, 300.0
    most = 1
    if heights == "num_rows":
        # A multiple of four, so that the grid's lines stand at whole numbers.
        most = 4 * math.ceil(max(b.num_rows for b in bins) / 4)
    first, last = (0.0, 1.0) if diagonal else (bins[0].low, bins[-1].high)
    inner = width - MARGIN_LEFT - MARGIN_RIGHT
    even = heights == "mean_y" and not diagonal
    shapes = [_axes(width, height, x_key, y_key, top=most, x_ends=None if even else (first, last))]
    tall = height - MARGIN_TOP - MARGIN_BOTTOM
    for i, b in enumerate(bins):
        # Ranges of equal many rows get equal widths; equal ranges keep their place on the axis.
        left = i / len(bins) if even else (b.low - first) / (last - first)
        right = (i + 1) / len(bins) if even else (b.high - first) / (last - first)
        share = _inside(getattr(b, heights) / most)
        x = MARGIN_LEFT + inner * left + 1
        note = f"{b.low:g}–{b.high:g}: {b.num_rows} | {b.mean_y:.3f}"
        shapes.append(
            tag(
                "rect",
                tag("title", note),
                x=x,
                y=MARGIN_TOP + tall * (1 - share),
                width=max(1.0, inner * (right - left) - 2),
                height=tall * share,
                class_="bar",
            )
        )
        if even:
            center = MARGIN_LEFT + inner * (left + right) / 2
            shapes.append(label(center, height - 28, f"{b.low:g}–{b.high:g}", "middle", "tick"))
    if diagonal:
        shapes.append(_path([(0, 0), (1, 1)], width, height, "reference"))
    return svg(width, height, *shapes, title=title)


def _axes(
    width: float,
    height: float,
    x_key: str,
    y_key: str,
    *,
    top: float = 1,
    x_ends: tuple[float, float] | None = (0.0, 1.0),
) -> Markup:
    inner, tall = width - MARGIN_LEFT - MARGIN_RIGHT, height - MARGIN_TOP - MARGIN_BOTTOM
    shapes = []
    for i in range(5):
        y = MARGIN_TOP + tall * (1 - i / 4)
        shapes.append(_stroke(MARGIN_LEFT, y, width - MARGIN_RIGHT, y, "grid"))
        text = f"{i / 4:g}" if top == 1 else f"{top * i / 4:.0f}"
        shapes.append(label(MARGIN_LEFT - 6, y + 4, text, "end", "tick"))
    if x_ends is not None:
        low, high = x_ends
        for i in range(5):
            x = MARGIN_LEFT + inner * i / 4
            text = f"{low + (high - low) * i / 4:g}"
            shapes.append(label(x, height - 28, text, "middle", "tick"))
    across = tag(
        "g",
        words(x_key, "text"),
        transform=f"translate({MARGIN_LEFT + inner / 2:g},{height - 8:g})",
        text_anchor="middle",
        class_="axis",
    )
    along = tag(
        "g",
        words(y_key, "text"),
        transform=f"translate(11,{MARGIN_TOP + tall / 2:g}) rotate(-90)",
        text_anchor="middle",
        class_="axis",
    )
    return join(*shapes, across, along)


def _path(points: Sequence[tuple[float, float]], width: float, height: float, css: str) -> Markup:
    inner, tall = width - MARGIN_LEFT - MARGIN_RIGHT, height - MARGIN_TOP - MARGIN_BOTTOM
    places = (f"{MARGIN_LEFT + inner * x:.1f},{MARGIN_TOP + tall * (1 - y):.1f}" for x, y in points)
    return tag("path", d="M" + "L".join(places), class_=css)


def _grid_line(x: float, bottom: float, value: float) -> Markup:
    return join(
        _stroke(x, 6, x, bottom, "grid"), label(x, bottom + 15, f"{value:g}", "middle", "tick")
    )


def _whisker(gutter: float, span: float, middle: float, row: Bar) -> Markup:
    if row.low is None or row.high is None:
        return Markup()
    low, high = gutter + span * _inside(row.low), gutter + span * _inside(row.high)
    return join(
        _stroke(low, middle, high, middle, "whisker"),
        _stroke(low, middle - 4, low, middle + 4, "whisker"),
        _stroke(high, middle - 4, high, middle + 4, "whisker"),
    )


def _stroke(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css)


def _inside(value: float) -> float:
    return min(1.0, max(0.0, value))


def text_width(text: str) -> int:
    """Return the width of a text in Latin letters; Chinese characters count twice."""
    return sum(1 if ord(character) < 0x2E80 else 2 for character in text)


def shortened(text: str, most: int) -> str:
    """Return a text of at most this width, with an ellipsis where it was cut."""
    if text_width(text) <= most:
        return text
    while text_width(text) > most - 1:
        text = text[:-1]
    return text + "…"


def interval_text(value: float | None, low: float | None, high: float | None) -> str:
    """Return a value with its interval."""
    if low is None or high is None:
        return number(value)
    return f"{number(value)} [{number(low)}–{number(high)}]"
