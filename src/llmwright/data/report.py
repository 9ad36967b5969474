"""The rejection report: every record that did not get through, with file, number and reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from llmwright.core.errors import InputError
from llmwright.core.files import disk_errors
from llmwright.core.locale import catalogue, language
from llmwright.core.locale import text as sentence
from llmwright.data.readers.record import Rejection

Level = Literal["info", "warning"]
# Places that are named for one reason; all of them stand in the file.
_MAX_PLACES = 5


class Report:
    """Writes ``rejected.jsonl`` while records are read and counts the reasons.

    A record is *rejected* when it cannot be read or lacks a needed value, which counts towards
    ``max_rejected``. A row is *removed* when a cleaner or rule the user chose takes it out.

    Args:
        path: The file to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rejected: Counter[str] = Counter()
        self.removed: Counter[str] = Counter()
        self.places: dict[str, list[str]] = {}
        self._first = ""
        with disk_errors(path):
            self._file = path.open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with disk_errors(self.path):
            self._file.close()

    def reject(self, source: str, rejection: Rejection) -> None:
        """List a record that cannot be used."""
        self.rejected[rejection.reason] += 1
        places = self.places.setdefault(rejection.reason, [])
        if len(places) < _MAX_PLACES:
            places.append(sentence("data.place", source=source, number=rejection.number))
        if not self._first:
            self._first = _place(source, rejection)
        self._write(source, rejection, counted=True)

    def remove(self, source: str, rejection: Rejection) -> None:
        """List a row that was taken out as asked."""
        self.removed[rejection.reason] += 1
        self._write(source, rejection, counted=False)

    def _write(self, source: str, item: Rejection, *, counted: bool) -> None:
        entry = {
            "source": source,
            "row": item.number,
            "line": item.line,
            "reason": item.reason,
            "detail": item.detail,
            "counted": counted,
            "record": item.excerpt,
        }
        with disk_errors(self.path):
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def flush(self) -> None:
        """Hand everything to the operating system, so that the file can be read or copied."""
        with disk_errors(self.path):
            self._file.flush()

    def reasons(self) -> dict[str, int]:
        """Return reason → count, rejected and removed together, the most frequent first."""
        return dict((self.rejected + self.removed).most_common())

    def check(self, num_records: int, max_rejected: float) -> None:
        """Stop when too much was rejected, or nothing is left.

        Args:
            num_records: Records read.
            max_rejected: Largest share that may be rejected.

        Raises:
            InputError: More were rejected (``DATA-040``; ``DATA-050`` where most were because the
                rejected answer has the better score), or no row is left (``DATA-041``).
        """
        self.flush()
        rejected, removed = self.rejected.total(), self.removed.total()
        swapped = self.rejected["swapped"]
        if rejected > max_rejected * num_records and 2 * swapped > rejected:
            rows = ", ".join(self.places["swapped"]) + (" …" if swapped > _MAX_PLACES else "")
            raise InputError("DATA-050", count=swapped, total=num_records, rows=rows)
        if rejected > max_rejected * num_records:
            raise InputError(
                "DATA-040",
                rejected=rejected,
                total=num_records,
                percent=f"{rejected / num_records:.1%}",
                limit=f"{max_rejected:.1%}",
                reasons=listed(self.rejected),
                example=self._first,
                report=self.path,
            )
        if rejected + removed >= num_records:
            reasons = listed(self.rejected + self.removed)
            raise InputError("DATA-041", total=num_records, reasons=reasons, report=self.path)

    def summarise(self, num_records: int, say: Callable[[str, Level], None]) -> None:
        """Say what was rejected and removed."""
        if self.rejected:
            total = self.rejected.total()
            reasons = listed(self.rejected)
            say(
                sentence("data.rejected", rejected=total, total=num_records, reasons=reasons),
                "warning",
            )
        if self.removed:
            reasons = listed(self.removed)
            say(sentence("data.removed", removed=self.removed.total(), reasons=reasons), "info")


def listed(counts: Counter[str]) -> str:
    """Return ``reason (count), …`` in the user's language, the most frequent first."""
    return ", ".join(f"{_reason(reason)} ({count})" for reason, count in counts.most_common())


def _reason(code: str) -> str:
    """Return our sentence for a reason; a plugin's is said as it is called."""
    key = f"data.reason_{code}"
    return sentence(key) if key in catalogue("en", "data")["text"] else code


def _place(source: str, item: Rejection) -> str:
    """Return where a record is and what is wrong with it.

    Details are part of the artifact and therefore English; elsewhere the reason has to do.
    """
    said = item.detail if language() == "en" else _reason(item.reason)
    line = sentence("data.line", line=item.line) if item.line else ""
    return sentence("data.record", source=source, number=item.number, line=line, said=said)
