"""Replacing personal data in texts that travel with a model.

Patterns, not understanding: names and addresses written out are not found. What is found is
replaced by a word in angle brackets, so that the text stays a plausible input.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any

# Weights and check characters of Chinese resident identity numbers (GB 11643-1999).
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECKS = "10X98765432"

# Look-arounds name ASCII letters only: Chinese puts no space between a word and what follows it.
URL_WITH_SECRET = re.compile(
    r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s/@:]+:[^\s/@]+@[^\s]+"
    r"|(?<![a-z0-9])https?://[^\s?]+\?[^\s]*"
    r"(?:key|token|secret|password|passwd|pwd|auth|sig)[^\s=]*=[^\s]+",
    re.IGNORECASE,
)
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
CHINESE_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dA-Za-z])")
CARD = re.compile(r"(?<![\d.+-])\d(?:[ -]?\d){12,18}(?![\d-])")
IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
IPV6 = re.compile(r"(?<![\w:.])(?=[0-9a-fA-F]*:[0-9a-fA-F]*:)[0-9a-fA-F:]{4,39}(?![\w:])", re.ASCII)
PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    r"(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # Chinese mobile numbers
    r"|0\d{2,3}-\d{7,8}"  # Chinese landlines
    r"|\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"  # international form
    r"|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}"  # North America
    r")(?![\w-])",
    re.ASCII,
)


def is_chinese_id(number: str) -> bool:
    """Say whether 18 characters are a Chinese identity number, by their check character."""
    total = sum(int(d) * w for d, w in zip(number[:17], ID_WEIGHTS, strict=True))
    return ID_CHECKS[total % 11] == number[17].upper()


def is_card(number: str) -> bool:
    """Say whether digits are a payment card number.

    Source: ISO/IEC 7812-1, annex B (the Luhn formula).
    """
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def is_address(found: str) -> bool:
    """Say whether numbers and their marks are an address of the internet protocol."""
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


Rule = tuple[re.Pattern[str], Callable[[str], bool] | None, str]
# Longer patterns first: an address holds what looks like an e-mail, an identity number a phone's.
RULES: tuple[Rule, ...] = (
    (URL_WITH_SECRET, None, "<url>"),
    (EMAIL, None, "<email>"),
    (CHINESE_ID, is_chinese_id, "<id>"),
    (CARD, is_card, "<card>"),
    (IPV4, is_address, "<ip>"),
    (IPV6, is_address, "<ip>"),
    (PHONE, None, "<phone>"),
)


def redact(text: str) -> str:
    """Return a text without e-mails, phone, identity and card numbers, IPs and secret URLs."""
    for rule in RULES:
        text = _apply(rule, text)
    return text


def _apply(rule: Rule, text: str) -> str:
    pattern, holds, mark = rule
    return pattern.sub(lambda m: mark if holds is None or holds(m[0]) else m[0], text)


def is_personal(tokens: Sequence[str]) -> bool:
    """Say whether tokens together, with or without spaces, hold personal data.

    Their tags belong to each of them, so a token cannot be replaced: the row stays behind.
    """
    return any(redact(text) != text for text in (" ".join(tokens), "".join(tokens)))


def redact_value(value: Any) -> Any:
    """Return a row's value with every text in it redacted; mappings and lists keep their shape."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in value]
    return value
