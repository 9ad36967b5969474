"""The frame of every report: one file that needs nothing else, in two languages, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from llmwright.core import locale
from llmwright.inference.page.markup import Markup, tag, words


def framed(
    title: str,
    facts: Sequence[tuple[Markup, str]],
    parts: Sequence[Markup],
    lang: locale.Language,
    style: str = "",
) -> str:
    """Return a whole page.

    Args:
        title: Key of its title in the catalogue.
        facts: What the report is about, shown under the title: name and value.
        parts: The sections.
        lang: The language it opens in; a button shows the other.
        style: CSS besides the common one.
    """
    about = facts[0][1] if facts else ""
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{locale.text(title, lang)} · {about}"),
        tag("style", Markup(_file("style.css") + style)),
    )
    body = tag(
        "body",
        tag("main", _header(title, facts), *parts),
        tag("script", Markup(_file("switch.js"))),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang=lang, data_lang=lang) + "\n"


def _header(title: str, facts: Sequence[tuple[Markup, str]]) -> Markup:
    chips = [tag("li", name, " ", tag("b", value)) for name, value in facts]
    # Each language names the other, so a reader of either finds the button.
    other = Markup('<span lang="en">中文</span><span lang="zh">English</span>')
    return tag(
        "header",
        tag("div", tag("h1", words(title)), tag("ul", *chips, class_="chips")),
        tag(
            "div",
            tag("button", other, id="language", type="button"),
            tag("button", words("inference.page_theme"), id="theme", type="button"),
            class_="switches",
        ),
    )


def _file(name: str) -> str:
    return resources.files("llmwright.inference.page").joinpath(name).read_text("utf-8")
