"""Every registered cleaner keeps the contract that plugins are held to; a broken one does not."""

from __future__ import annotations

from typing import Literal

import pytest

from llmwright.data.cleaners import Cleaner, UnicodeCleaner
from llmwright.data.config import CLEANERS
from llmwright.testing.cleaner import check_cleaner, check_idempotent, check_rows, check_texts

# Entities inside entities become markup on the second pass; the others promise to be done.
NOT_IDEMPOTENT = {"html"}


@pytest.mark.parametrize("name", CLEANERS.names())
def test_registered_cleaner(name: str) -> None:
    cleaner = CLEANERS.get(name)()
    check_cleaner(cleaner, idempotent=name not in NOT_IDEMPOTENT)


def test_cleaner_with_settings() -> None:
    check_cleaner(UnicodeCleaner(form="NFC"), idempotent=True)


class Forgetful(Cleaner):
    kind: Literal["forgetful"] = "forgetful"
    """Name."""

    def clean(self, text: str) -> str:
        calls.append(text)
        return text + str(len(calls))


class Growing(Cleaner):
    kind: Literal["growing"] = "growing"
    """Name."""

    def clean(self, text: str) -> str:
        return text + "!"


class Meddling(Cleaner):
    kind: Literal["meddling"] = "meddling"
    """Name."""

    def row_filter(self):
        def reason(row):
            row["text"] = "mine"

        return reason


calls: list[str] = []


def test_the_suite_finds_what_is_wrong() -> None:
    with pytest.raises(AssertionError, match="remembers"):
        check_texts(Forgetful())
    with pytest.raises(AssertionError, match="then"):
        check_idempotent(Growing())
    with pytest.raises(AssertionError, match="changed a row"):
        check_rows(Meddling())
