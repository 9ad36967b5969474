"""Finding the encoding of a text file by its content.

The order matters: a byte-order mark is certain; valid UTF-8 with non-ASCII characters is nearly
certain; UTF-16 without a mark shows by its NUL bytes; GB18030 by pairs of high bytes that are
common Chinese characters; what is left is a single-byte encoding.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from llmwright.core.errors import ConfigError, InputError
from llmwright.data.readers.lines import open_bytes, open_text

# A file up to this size is looked at whole; a larger one at its beginning, which is then cut at a
# line end so that no character is torn.
SAMPLE_BYTES = 32 * 1024 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# English in UTF-16 is half NULs; Chinese has few, but is then no valid UTF-8.
_MAX_STRAY_NULS = 0.2
_ASCII = bytes(range(128))
_CLOSE_LOOK_BYTES = 1 << 20
# What text of any language mostly consists of, to tell UTF-16's two byte orders from noise.
_USUAL = (
    range(0x20, 0x250), range(0x370, 0x530), range(0x900, 0xE80), range(0x2010, 0x2040),
    range(0x3000, 0x3100), range(0x4E00, 0x9FA6), range(0xAC00, 0xD7A4), range(0xFF00, 0xFFF0),
)  # fmt: skip


def find_encoding(path: Path, name: str) -> str:
    """Return the codec name of a text file.

    Raises:
        InputError: The file is empty (``DATA-013``) or no text (``DATA-015``).
    """
    with open_bytes(path) as file:
        sample = file.read(SAMPLE_BYTES)
    if not sample.strip(b"\x00"):
        raise InputError("DATA-013", path=name)
    marked = next((encoding for mark, encoding in _MARKS if sample.startswith(mark)), None)
    found = marked or encoding_of(sample)
    if found is None:
        raise InputError("DATA-015", path=name)
    check_filled(path, found, name)
    return found


def check_filled(path: Path, encoding: str, name: str) -> None:
    """Check that a text file has something besides white space.

    Raises:
        InputError: It has not (``DATA-013``).
    """
    with open_text(path, encoding) as stream:
        while chunk := stream.read(_CLOSE_LOOK_BYTES):
            if chunk.replace("\ufeff", "").replace("\x00", "").strip():
                return
    raise InputError("DATA-013", path=name)


def known_encoding(encoding: str) -> str:
    """Return the user's encoding when Python knows it; a byte-order mark is skipped then.

    Raises:
        ConfigError: No such encoding (``DATA-016``).
    """
    try:
        found = codecs.lookup(encoding).name
    except LookupError:
        raise ConfigError("DATA-016", encoding=encoding) from None
    return "utf-8-sig" if found == "utf-8" else found


def encoding_of(sample: bytes) -> str | None:
    """Return the codec name of bytes without a byte-order mark, or None when they are no text."""
    if len(sample) == SAMPLE_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1 or None]
    valid, invalid = _utf8_sequences(sample)
    many_nuls = sample.count(0) > _MAX_STRAY_NULS * len(sample)
    if many_nuls or (invalid > valid and _has_utf16_nuls(sample)):
        return _utf16_order(sample)
    # Chinese in GB 18030 has some byte pairs that happen to be UTF-8, but far more that are not.
    if not invalid or valid >= invalid:
        return "utf-8"
    if _looks_gb18030(_around_first_high(sample)):
        return "gb18030"
    return _single_byte(sample, invalid)


def _utf8_sequences(sample: bytes) -> tuple[int, int]:
    """Return how many non-ASCII characters are valid UTF-8, and how many bytes are not."""
    num_high = len(sample.translate(None, _ASCII))
    num_ascii = len(sample) - num_high
    text = sample.decode("utf-8", "ignore")
    valid = len(text) - num_ascii
    return valid, num_high - (len(text.encode()) - num_ascii)


def _around_first_high(sample: bytes) -> bytes:
    """Return a part small enough to look at character by character, from the first high byte on."""
    start = next((i for i, byte in enumerate(sample) if byte > 127), 0)
    return sample[start : start + _CLOSE_LOOK_BYTES]


def _has_utf16_nuls(sample: bytes) -> bool:
    """Say whether NUL bytes are as common as UTF-16 makes them: one with each newline and space.

    Other characters can hold the bytes 0A and 20 too, hence not one for each.
    """
    return sample.count(0) > 0.2 * (1 + sample.count(b"\n") + sample.count(b" "))


def _utf16_order(sample: bytes) -> str | None:
    scores = {order: _usual_share(sample, order) for order in ("utf-16-le", "utf-16-be")}
    best = max(scores, key=lambda order: scores[order])
    return best if scores[best] > 0.9 else None


def _usual_share(sample: bytes, encoding: str) -> float:
    text = sample[: _CLOSE_LOOK_BYTES // 4].decode(encoding, "replace")
    usual = sum(c in "\n\r\t" or any(ord(c) in block for block in _USUAL) for c in text)
    return usual / max(1, len(text))


def _looks_gb18030(sample: bytes) -> bool:
    """Say whether the high bytes come in pairs of the common GB 2312 area."""
    text = sample.decode("gb18030", "replace")
    common = others = 0
    for char in text:
        code = char.encode("gb18030")
        # Four bytes, as for emoji, say nothing for or against, unless they stand for a bad byte.
        if len(code) == 2 or char == "\ufffd":
            others += 1
            common += len(code) == 2 and code[0] >= 0xA1 and code[1] >= 0xA1
    return common > 0.9 * others


def _single_byte(sample: bytes, num_high: int) -> str:
    """Return an encoding for what is neither Unicode nor Chinese.

    A few accented letters in Western text say too little for statistics: they are Latin-1, or its
    superset Windows-1252 where bytes occur that are only control characters in Latin-1.
    """
    western = "cp1252" if any(0x80 <= byte < 0xA0 for byte in set(sample)) else "latin-1"
    if num_high < 0.3 * len(sample):
        return western
    from charset_normalizer import from_bytes

    best = from_bytes(sample[: _CLOSE_LOOK_BYTES // 4]).best()
    return best.encoding if best is not None else western
