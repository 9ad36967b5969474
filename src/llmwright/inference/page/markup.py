"""HTML and SVG as strings, with every sentence in both languages at once.

The page holds English and Chinese side by side and shows one of them by CSS, so it needs no
server and no second file.
"""

from __future__ import annotations

import html
from collections.abc import Callable

from llmwright.core import locale


class Markup(str):
    """Text that is markup already and is not escaped again."""


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element; plain strings are escaped, attributes that are None are left out.

    ``class_`` becomes ``class``; other underscores become hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Return children one after the other, plain strings escaped."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(c) for c in children))


def words(key: str, element: str = "span", **values: object) -> Markup:
    """Return a sentence of the catalogue in both languages."""
    return both(lambda lang: locale.text(key, lang, **values), element)


def both(
    say: Callable[[locale.Language], str], element: str = "span", **attributes: object
) -> Markup:
    """Return what ``say`` returns for each language, in an element of that language."""
    english, chinese = say("en"), say("zh")
    if english == chinese:
        return tag(element, english, **attributes)
    return join(
        tag(element, english, lang="en", **attributes),
        tag(element, chinese, lang="zh", **attributes),
    )


def number(value: float | None, scale: float | None = 1.0) -> str:
    """Return a figure as a reader wants it: three decimals up to 1, two beyond, — if undefined."""
    if value is None:
        return "—"
    if abs(value) >= 100_000:
        return f"{value:.3g}"
    return f"{value:.3f}" if scale == 1.0 or abs(value) < 1 else f"{value:.2f}"


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
