"""HTML: the text that a reader of the page sees; offsets count within that text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from llmwright.core.errors import InputError
from llmwright.knowledge.documents.document import Document, Section, SourceFile, text_of
from llmwright.knowledge.documents.text import joined

# What is there for machines, or stands on every page.
_UNSEEN = frozenset({"script", "style", "template", "noscript", "svg", "nav", "head", "iframe"})
_BLOCKS = frozenset(
    ["p", "div", "section", "article", "main", "header", "footer", "aside", "ul", "ol", "table",
     "blockquote", "pre", "figure", "form", "dl", "hr", "h1", "h2", "h3", "h4", "h5", "h6"]
)  # fmt: skip
_LINES = frozenset({"br", "li", "tr", "dt", "dd", "option", "caption"})
_CELLS = frozenset({"td", "th"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SPACE = re.compile(r"\s+")


class _Page(HTMLParser):
    """Collects the text of a page and where its headings stand in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.length = 0
        self.title = ""
        # Where each section begins, and the headings above it.
        self.sections: list[tuple[int, str]] = []
        self._path: list[tuple[int, str]] = []
        self._unseen: list[str] = []
        self._heading: list[str] | None = None
        self._in_title = False
        self._preformatted = 0
        # The last characters that were written.
        self._tail = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title" and not self.title
        if self._unseen == ["head"] and (tag == "body" or tag in _BLOCKS):
            # The end of a page's head need not be written.
            self._unseen.clear()
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif not self._unseen:
            self._preformatted += tag == "pre"
            self._break(tag)
            if tag in _HEADINGS:
                self._heading = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._unseen:
            self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag in self._unseen:
            # What was not closed inside it ends with it.
            del self._unseen[self._unseen.index(tag) :]
        elif not self._unseen:
            self._preformatted = max(0, self._preformatted - (tag == "pre"))
            if tag in _HEADINGS and self._heading is not None:
                self._begin_section(_HEADINGS[tag])
            if tag not in _CELLS:
                self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._unseen:
            return
        elif self._heading is not None:
            self._heading.append(data)
        elif self._preformatted:
            self._write(data)
        else:
            data = _SPACE.sub(" ", data)
            at_start = not self.length or self._tail[-1:].isspace()
            self._write(data.lstrip() if at_start else data)

    def _begin_section(self, level: int) -> None:
        title = " ".join("".join(self._heading or []).split())
        self._heading = None
        self._path = [entry for entry in self._path if entry[0] < level] + [(level, title)]
        self.sections.append((self.length, joined(title for _, title in self._path)))

    def _break(self, tag: str) -> None:
        if self._heading is not None:
            self._heading.append(" ")
        elif tag in _BLOCKS:
            self._end_line("\n\n")
        elif tag in _LINES:
            self._end_line("\n")
        elif tag in _CELLS:
            self._end_line(" ")

    def _end_line(self, sign: str) -> None:
        """Write what parts two blocks, as far as it does not stand there already."""
        if self.length == 0 or (sign == " " and self._tail[-1:].isspace()):
            return
        missing = len(sign) - (len(self._tail) - len(self._tail.rstrip("\n")))
        self._write(sign[:missing] if missing > 0 else "")

    def _write(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.length += len(text)
            self._tail = (self._tail + text)[-2:]


def read_html(file: SourceFile) -> Iterator[Document]:
    """Yield the one document of an HTML file, a section below each heading.

    Raises:
        InputError: It has no text (``KNOW-004``), or as `text_of`.
    """
    page = _Page()
    page.feed(text_of(file))
    page.close()
    text = "".join(page.parts)
    if not text.strip():
        raise InputError("KNOW-004", path=file.name, reason="no text")
    title = " ".join(page.title.split())
    yield Document(text, tuple(_sections(page, text, title)))


def _sections(page: _Page, text: str, title: str) -> Iterator[Section]:
    places = [(0, ""), *page.sections, (len(text), "")]
    for (start, heading), (end, _) in zip(places, places[1:], strict=False):
        if text[start:end].strip():
            name = heading if heading.startswith(title) else joined(iter((title, heading)))
            yield Section(start, end, name)
