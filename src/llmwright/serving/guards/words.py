"""The guard ``words``: words and phrases of a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.serving.config import WordsGuard
from llmwright.serving.guards.guarding import Seen
from llmwright.serving.guards.matching import Matcher, plain

# Longer texts are looked at in a thread, so that other requests go on.
LONG = 20_000


class Words:
    """Finds words.

    Args:
        settings: Which ones.
        root: Folder that a relative file starts from.
        find: Not needed.

    Raises:
        ConfigError: There are none, or the file cannot be read (``SERVE-016``).
    """

    def __init__(self, settings: WordsGuard, root: Path, find: Callable[[str], Path]) -> None:
        words = list(settings.words)
        if settings.file is not None:
            words += _lines(root / settings.file.expanduser())
        self.matcher = Matcher(words)
        if not self.matcher.num_words:
            raise ConfigError(
                "SERVE-016", where="guards", kind="words", reason=text("serving.no_words")
            )

    def watch(self) -> WordsWatch:
        """Return what looks at one text."""
        return WordsWatch(self.matcher)

    def close(self) -> None:
        """Hold nothing."""


class WordsWatch:
    """Looks for words in one text.

    Args:
        matcher: Finds them.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._before = ""

    async def look(self, text: str, ended: bool) -> Seen:
        """Return the words in the text that has not passed, and how much of it holds none."""
        if len(text) > LONG:
            return Seen(*await asyncio.to_thread(self._matcher.scan, text, self._before, ended))
        return Seen(*self._matcher.scan(text, self._before, ended))

    def passed(self, text: str) -> None:
        """Remember the character before what comes next."""
        self._before = plain(text[-64:], self._before).text[-1:] or self._before


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error.reason
        reason = f"{path}: {said}"
        raise ConfigError("SERVE-016", where="guards", kind="words", reason=reason) from error
    return [line for line in lines if not line.startswith("#")]
