"""A cleaner of our own: ticket numbers say nothing about what a message is about."""

from __future__ import annotations

import re
from typing import Literal

from llmwright import register
from llmwright.data.cleaners import Cleaner

_NUMBER = re.compile(r"\[?#\d+\]?")


class TicketNumbers(Cleaner):
    """Replace ticket numbers such as [#48213] by one word."""

    kind: Literal["ticket_numbers"] = "ticket_numbers"
    """Name of this cleaner."""
    word: str = "ticket"
    """What is put in their place; it must not look like a ticket number itself."""

    def clean(self, text: str) -> str:
        """Return the text without numbers; it also runs on every text at inference."""
        return _NUMBER.sub(lambda _: self.word, text)


register("cleaner", "ticket_numbers", TicketNumbers)
