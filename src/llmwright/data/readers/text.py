"""Plain text: a document is the whole file, a line, or a paragraph between blank lines."""

from __future__ import annotations

from collections.abc import Iterator

from llmwright.core.errors import InputError
from llmwright.core.locale import text as sentence
from llmwright.data.readers.lines import open_text, read_lines, text_problem
from llmwright.data.readers.record import ReadRequest, Record, Rejection, excerpt_of


def read_text(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield the documents of a text file under the column ``text``.

    Raises:
        InputError: The whole file is one document and larger than ``max_record_bytes``
            (``DATA-021``).
    """
    request.say(sentence(f"data.document_{request.document}"))
    if request.document == "file":
        return _whole(request)
    return _pieces(request, by_line=request.document == "line")


def _whole(request: ReadRequest) -> Iterator[Record | Rejection]:
    with open_text(request.path, request.encoding, meter=request.meter) as stream:
        text = stream.read(request.max_record_bytes + 1)
    if len(text) > request.max_record_bytes:
        limit = request.max_record_bytes
        raise InputError("DATA-021", path=request.name, limit=f"{limit:,}")
    yield _document(1, 1, text)


def _pieces(request: ReadRequest, *, by_line: bool) -> Iterator[Record | Rejection]:
    number, start, size, held = 0, 1, 0, list[str]()
    too_large = False
    with open_text(request.path, request.encoding, meter=request.meter) as stream:
        for line in read_lines(stream, request.max_record_bytes):
            blank = not line.text.strip()
            if (blank or by_line) and held:
                number += 1
                yield _finish(number, start, held, too_large)
                held, size, too_large = [], 0, False
            if blank:
                continue
            start = start if held else line.number
            size += len(line.text)
            too_large = too_large or line.cut or size > request.max_record_bytes
            # A paragraph that is already too large is not collected any further.
            held = [*held[:1]] if too_large and held else held
            held.append(line.text)
    if held:
        yield _finish(number + 1, start, held, too_large)


def _finish(number: int, line: int, held: list[str], too_large: bool) -> Record | Rejection:
    text = "".join(held).strip("\n")
    if too_large:
        detail = "the record is larger than max_record_bytes"
        return Rejection(number, line, "too_large", detail, excerpt_of(text))
    return _document(number, line, text)


def _document(number: int, line: int, text: str) -> Record | Rejection:
    if problem := text_problem(text):
        return Rejection(number, line, *problem, excerpt_of(text))
    return Record(number, line, {"text": text})
