"""Texts that another server writes: each comes as a stream of its own, all are handed on together.

The server schedules and samples; what a token means is said by a dialect. Which settings it can
honour its engine tells, so none is dropped here.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmwright.core.errors import LLMwrightError, ResourceError
from llmwright.inference.remote.connection import Connection, Line
from llmwright.inference.writing.generation import FinishReason, Token, Told
from llmwright.inference.writing.sampling import Settings

# How long a step waits for something to happen; new texts begin between steps.
STEP_SECONDS = 0.01
# Codes of a server that does not answer, or stops to: it may have ended.
LOST = ("INFER-007", "INFER-055")
NO_LOGITS = np.zeros(0, dtype=np.float32)
# The prime keeps the texts of one request apart under one seed.
BETWEEN_SEEDS = 7919
MAX_SEED = 2**31

Request = tuple[str, dict[str, Any]]
Part = tuple[list[tuple[int, Told]], FinishReason | None]


class Dialect(ABC):
    """How a server is asked for a text, and how it answers."""

    @abstractmethod
    def request(self, prompt_T: np.ndarray, settings: Settings, place: int) -> Request:
        """Return route and body of a streamed request."""

    @abstractmethod
    def read(self, event: dict[str, Any], settings: Settings) -> Part:
        """Return what one event of the stream adds, and why the text ends where it does.

        Raises:
            KeyError, TypeError, ValueError, IndexError, AttributeError: It is none that is known.
        """


def sampling(settings: Settings, place: int) -> dict[str, Any]:
    """Return the fields of a request that say how to write; what is off is left out."""
    body: dict[str, Any] = {
        "max_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    off = Settings()
    names: tuple[str, ...] = ("repetition_penalty", "presence_penalty", "frequency_penalty")
    if settings.temperature > 0:
        names = (*names, "top_p", "top_k", "min_p")
        if settings.seed is not None:
            body["seed"] = (abs(settings.seed) + place * BETWEEN_SEEDS) % MAX_SEED
    chosen = {name: getattr(settings, name) for name in names}
    body |= {name: value for name, value in chosen.items() if value != getattr(off, name)}
    if settings.min_new_tokens:
        body["min_tokens"] = settings.min_new_tokens
    if settings.grammar is not None:
        schema = {"name": "answer", "schema": json.loads(settings.grammar.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if settings.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in settings.logit_bias.items()}
    return body


def ended(reason: str | None) -> FinishReason | None:
    """Return why a text ended in our words: all but a full count is an end of its own."""
    if reason is None:
        return None
    return "length" if reason == "length" else "stop"


class RemoteWriter:
    """Writes texts through a server, as `Writer` does through an engine's logits.

    Args:
        connection: To the server.
        dialect: How it is spoken to.
        check: Raises an error where the server is known to be gone.
    """

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection, self._dialect, self._check = connection, dialect, check
        self._tokens: queue.SimpleQueue[Token] = queue.SimpleQueue()
        self._lines: dict[int, Line] = {}

    def has_room(self, prompts: Sequence[np.ndarray], settings: Sequence[Settings]) -> bool:
        """Say that texts may be added; what does not fit waits in the server's own queue."""
        return True

    def add(
        self,
        rows: Sequence[int],
        prompts: Sequence[np.ndarray],
        settings: Sequence[Settings],
        places: Sequence[int],
    ) -> None:
        """Ask the server for texts, as `Writer.add` says."""
        for row, prompt_T, chosen, place in zip(rows, prompts, settings, places, strict=True):
            self._lines[row] = Line()
            request = self._dialect.request(prompt_T, chosen, place)
            reader = threading.Thread(
                target=self._read,
                args=(row, request, chosen, self._lines[row]),
                name="llmwright-remote",
                daemon=True,
            )
            reader.start()

    def drop(self, row: int) -> None:
        """Write no more of a text; the server sees its client leave."""
        line = self._lines.pop(row, None)
        if line is not None:
            line.cut()

    def step(self) -> Iterator[Token]:
        """Yield what has come meanwhile; wait a moment where nothing has."""
        until = time.monotonic() + STEP_SECONDS
        while True:
            try:
                token = self._tokens.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            until = 0.0
            if token.row not in self._lines:
                continue
            if token.finish_reason is not None:
                del self._lines[token.row]
            yield token

    def is_idle(self) -> bool:
        """Say whether no text is being written."""
        return not self._lines

    def close(self) -> None:
        """Write no more of any text."""
        for row in list(self._lines):
            self.drop(row)

    def _read(self, row: int, request: Request, settings: Settings, line: Line) -> None:
        """Hand on what the server streams; runs in a thread of its own."""
        try:
            for token in self._parsed(row, request, settings, line):
                self._tokens.put(token)
        except Exception as error:  # whoever waits for this text is told, the others go on
            why = error
            try:
                if isinstance(error, LLMwrightError) and error.code in LOST:
                    self._check()
            except LLMwrightError as gone:
                why = gone
            self._tokens.put(Token(row, 0, "length", NO_LOGITS, is_text=False, failure=why))

    def _parsed(
        self, row: int, request: Request, settings: Settings, line: Line
    ) -> Iterator[Token]:
        """Yield the tokens of a stream, the last one held back until it is known to be."""
        route, body = request
        held: tuple[int, Told] | None = None
        finish: FinishReason | None = None
        usage: tuple[int, int] | None = None
        for event in self._connection.stream(route, body, line):
            try:
                told, reason = self._dialect.read(event, settings)
                usage = counted(event) or usage
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise self._connection.strange(route, event) from error
            finish = finish or reason
            for each in told:
                if held is not None:
                    yield Token(row, held[0], None, NO_LOGITS, told=held[1])
                held = each
        if finish is not None:
            token, last = held or (0, Told(""))
            last = replace(last, usage=usage)
            yield Token(row, token, finish, NO_LOGITS, is_text=held is not None, told=last)
        elif not line.is_cut:
            raise ResourceError("INFER-055", url=self._connection.address + route)


def counted(event: dict[str, Any]) -> tuple[int, int] | None:
    """Return the tokens of prompt and text that a server counted, where it tells them."""
    usage = event.get("usage")
    if not usage:
        return None
    return int(usage["prompt_tokens"]), int(usage["completion_tokens"])
