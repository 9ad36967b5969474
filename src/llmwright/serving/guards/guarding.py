"""What guards do to a request: prompts before the work, replies while they are written.

They fail closed: a guard that cannot look lets nothing pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from llmwright.serving.config import GuardKind
from llmwright.serving.door.errors import ApiError

LOGGER = logging.getLogger("llmwright.serving")

MASK = "*"
Place = Literal["prompt", "reply"]
# Parts of a message that nobody wrote.
STRUCTURE = ("role", "type")


@dataclass(frozen=True)
class Seen:
    """What a guard has looked at.

    Attributes:
        spans: Where it found something, as far as that is sure; in order, not overlapping.
        safe: Length of the part it has nothing more to say about.
    """

    spans: Sequence[tuple[int, int]]
    safe: int


class Watch(Protocol):
    """Looks at one text from its beginning to its end."""

    async def look(self, text: str, ended: bool) -> Seen:
        """Return what it found in the text that has not passed yet, and how much of it may pass.

        Args:
            text: What has not passed, and what is new.
            ended: Whether the text goes no further; then all of it has to be safe.
        """
        ...

    def passed(self, text: str) -> None:
        """Note what has passed, as it was before masking."""
        ...


class Guard(Protocol):
    """A built guard."""

    def watch(self) -> Watch:
        """Return what looks at one text."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(frozen=True)
class Post:
    """A guard at its place.

    Attributes:
        name: What headers and metrics call it.
        settings: What it looks at and what it does.
        guard: What looks.
    """

    name: str
    settings: GuardKind
    guard: Guard


Note = Callable[[str, Place, str], None]


class Stage:
    """One guard over one text.

    Args:
        post: The guard.
        place: Whether the text is a prompt or a reply.
        note: Is told name, place and action for each text in which something is found.
    """

    def __init__(self, post: Post, place: Place, note: Note) -> None:
        self.blocked = False
        self._post = post
        self._place = place
        self._note = note
        self._watch = post.guard.watch()
        self._held = ""
        self._found = False

    async def feed(self, text: str, ended: bool) -> str:
        """Return what may pass of the text so far and has not yet."""
        self._held += text
        if self.blocked or not (text or ended):
            return ""
        try:
            seen = await self._watch.look(self._held, ended)
        except Exception as error:
            LOGGER.error("The guard %s failed", self._post.name, exc_info=error)
            raise ApiError(500, "guard_failed", name=self._post.name) from error
        action = self._post.settings.action
        if seen.spans and not self._found:
            self._found = True
            self._note(self._post.name, self._place, action)
        if seen.spans and action == "block":
            self.blocked = True
            return self._held[: seen.spans[0][0]]
        released, self._held = self._held[: seen.safe], self._held[seen.safe :]
        self._watch.passed(released)
        return masked(released, seen.spans) if action == "mask" else released


class Filter:
    """All guards over one text, one behind the other.

    Args:
        stages: Each guard's.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self.changed = False

    @property
    def blocked(self) -> Stage | None:
        """The guard that lets nothing more pass."""
        return next((stage for stage in self._stages if stage.blocked), None)

    async def feed(self, text: str, ended: bool) -> str:
        """Return what may pass of the text so far and has not yet."""
        passing = text
        for stage in self._stages:
            passing = await stage.feed(passing, ended)
            # What a guard blocks ends the text for those behind it.
            ended = ended or stage.blocked
        if passing != text:
            self.changed = True
        return passing


def masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text of the same length in which the characters of some places cannot be read."""
    for start, end in spans:
        text = text[:start] + MASK * (min(end, len(text)) - start) + text[end:]
    return text


class Guards:
    """The guards of a server.

    Args:
        posts: The guards, in the order they look.

    Attributes:
        note: Is told name, place and action for each text in which something is found.
    """

    def __init__(self, posts: Sequence[Post] = ()) -> None:
        self.note: Note = lambda *_: None
        self._posts = posts

    def on(self, place: Place) -> list[Post]:
        """Return the guards that look at prompts, or at replies."""
        return [post for post in self._posts if post.settings.looks_at in (place, "both")]

    def filter(self, place: Place, flags: list[str]) -> Filter | None:
        """Return what one text passes through; None where nobody looks.

        Args:
            place: Whether it is a prompt or a reply.
            flags: Gets the names of the guards that found something.
        """
        posts = self.on(place)

        def note(name: str, place: Place, action: str) -> None:
            self.note(name, place, action)
            if name not in flags:
                flags.append(name)

        return Filter([Stage(post, place, note) for post in posts]) if posts else None

    async def prompts(
        self, rows: Sequence[Any], flags: list[str], decode: Callable[[list[int]], str]
    ) -> list[Any]:
        """Return rows as they may be answered, masked where a guard says so.

        Args:
            rows: Rows or texts.
            flags: Gets the names of the guards that found something.
            decode: Returns the text of token ids, which cannot be masked: they are refused instead.

        Raises:
            ApiError: A guard refuses one (400), or could not look (500).
        """
        if not self.on("prompt"):
            return list(rows)
        return [await self._checked(row, flags, decode) for row in rows]

    async def _checked(
        self, value: Any, flags: list[str], decode: Callable[[list[int]], str]
    ) -> Any:
        """Return a part of a row in which each text was looked at."""
        if isinstance(value, str):
            return await self._text(value, flags)
        if isinstance(value, np.ndarray):
            text = decode(value.tolist())
            if await self._text(text, flags) != text:
                raise ApiError(400, "content_blocked")
            return value
        if isinstance(value, Mapping):
            return {
                key: part if key in STRUCTURE else await self._checked(part, flags, decode)
                for key, part in value.items()
            }
        if not isinstance(value, list | tuple):
            return value
        if value and all(isinstance(item, str) for item in value):
            return await self._tokens(value, flags)
        return [await self._checked(part, flags, decode) for part in value]

    async def _text(self, text: str, flags: list[str]) -> str:
        through = self.filter("prompt", flags)
        assert through is not None
        passed = await through.feed(text, True)
        if through.blocked:
            raise ApiError(400, "content_blocked")
        return passed

    async def _tokens(self, tokens: Sequence[str], flags: list[str]) -> list[str]:
        """Return words of which phrases were looked at together; masks keep their lengths."""
        whole = await self._text(" ".join(tokens), flags)
        found: list[str] = []
        start = 0
        for token in tokens:
            found.append(whole[start : start + len(token)])
            start += len(token) + 1
        return found

    def close(self) -> None:
        """Give back what the guards hold."""
        for post in self._posts:
            post.guard.close()


def build(settings: Sequence[GuardKind], root: Path, find: Callable[[str], Path]) -> Guards:
    """Return the guards of a config, ready to look.

    Args:
        settings: The config's guards.
        root: Folder that relative files start from.
        find: Returns the folder of a model by its reference.

    Raises:
        ConfigError: A list has no words or cannot be read, or a model does not tell the labels
            (``SERVE-016``).
        InputError: A model cannot be found or loaded.
    """
    return Guards([Post(one.name or one.kind, one, one.build(root, find)) for one in settings])
