"""The one loop that writes texts, whatever runs the model.

Shapes: B rows, R rows still being written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from llmwright.core.errors import ConfigError, InputError, ResourceError
from llmwright.inference.engines.engine import Decoding, Engine, SamplingEngine
from llmwright.inference.writing.sampling import Sampler, Settings
from llmwright.tasks.task import Output

FinishReason = Literal["stop", "length"]
OFF = Settings()


@dataclass(frozen=True)
class Told:
    """What a model that samples by itself says of a token.

    Attributes:
        text: What it adds to the text, where its tokenizer is not known here; else None.
        log_prob: Natural logarithm of its probability; None where it was not told.
        top: The likeliest tokens of its place with theirs, the likeliest first.
        usage: Tokens of the prompt and of the whole text, where they were counted there.
    """

    text: str | None = None
    log_prob: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    usage: tuple[int, int] | None = None


@dataclass(frozen=True)
class Token:
    """One chosen token.

    Attributes:
        row: Position of its text among the prompts.
        token_id: The token.
        finish_reason: Set on the last token of a text: ``stop`` (the model ends it, or its schema)
            or ``length`` (no more tokens are wanted or fit).
        logits_V: What it was chosen from; valid until the next token is asked for.
        is_text: Whether it is a part of the text; a stop token is not.
        failure: Why there is no next token; the text ends unfinished.
        told: What a model that samples by itself says of it; the logits are then empty.
    """

    row: int
    token_id: int
    finish_reason: FinishReason | None
    logits_V: np.ndarray
    is_text: bool = True
    failure: Exception | None = None
    told: Told | None = None


class TextWriter(Protocol):
    """What writes texts together, whoever samples: see `Writer`."""

    def has_room(self, prompts: Sequence[np.ndarray], settings: Sequence[Settings]) -> bool:
        """Say whether these texts may be added now."""
        ...

    def add(
        self,
        rows: Sequence[int],
        prompts: Sequence[np.ndarray],
        settings: Sequence[Settings],
        places: Sequence[int],
    ) -> None:
        """Begin texts."""
        ...

    def drop(self, row: int) -> None:
        """Write no more of a text."""
        ...

    def step(self) -> Iterator[Token]:
        """Yield what has been written meanwhile, at least a while later."""
        ...

    def is_idle(self) -> bool:
        """Say whether no text is being written."""
        ...

    def close(self) -> None:
        """Write no more of any text."""
        ...


def writer_of(engine: Engine) -> TextWriter:
    """Return what writes texts with an engine: its own writer, or ours over its logits."""
    return engine.writer() if isinstance(engine, SamplingEngine) else Writer(engine)


@dataclass(eq=False)
class Text:
    """One text that is being written.

    Attributes:
        row: Its number, as given.
        settings: How it is written.
        sampler: Chooses its tokens.
        most: Tokens it may have in the end, its prompt included.
        written: Tokens so far.
    """

    row: int
    settings: Settings
    sampler: Sampler
    most: int
    written: int = 0


@dataclass(eq=False)
class Group:
    """Texts that an engine writes together.

    Attributes:
        state: The engine's.
        texts: In the order of its rows.
    """

    state: Decoding
    texts: list[Text]


class Writer:
    """Writes texts together, a token of each in every step; others may join meanwhile.

    Where an engine can read a new prompt beside the texts that it is writing, all go through it
    together; else each newcomer has a group of its own.

    Args:
        engine: Runs the model.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._groups: list[Group] = []
        self._dropped: set[int] = set()

    def has_room(self, prompts: Sequence[np.ndarray], settings: Sequence[Settings]) -> bool:
        """Say whether texts may be added now, so that all can be written to their ends.

        Where nothing is being written a single one may always be tried.

        Args:
            prompts: Token ids of each.
            settings: How each is to be written.
        """
        if self.is_idle() and len(prompts) == 1:
            return True
        engine, there = self._engine, [text for group in self._groups for text in group.texts]
        if engine.max_texts is not None and len(there) + len(prompts) > engine.max_texts:
            return False
        asked = sum(text.most for text in there) + sum(self._most(prompts, settings))
        return engine.max_tokens is None or asked <= engine.max_tokens

    def _most(self, prompts: Sequence[np.ndarray], settings: Sequence[Settings]) -> list[int]:
        """Return how many tokens each text may have in the end."""
        wanted = [len(p) + s.max_new_tokens for p, s in zip(prompts, settings, strict=True)]
        context = self._engine.context
        return wanted if context is None else [min(context, count) for count in wanted]

    def add(
        self,
        rows: Sequence[int],
        prompts: Sequence[np.ndarray],
        settings: Sequence[Settings],
        places: Sequence[int],
    ) -> None:
        """Read prompts whose texts are written from the next step on.

        Args:
            rows: A number for each, by which its tokens are known.
            prompts: Token ids.
            settings: How each text is written.
            places: Position of each in its request, which decides its random numbers.

        Raises:
            ConfigError: An adapter is not loaded (``INFER-051``).
            ResourceError: The engine has no room for them.
        """
        self._engine.check_adapters([chosen.adapter for chosen in settings])
        each = zip(settings, places, prompts, strict=True)
        samplers = [Sampler(chosen, place, prompt_T) for chosen, place, prompt_T in each]
        most = self._most(prompts, settings)
        texts = [Text(*one) for one in zip(rows, settings, samplers, most, strict=True)]
        # Several texts of one prompt: it is read once.
        first, which = _once(prompts, texts) if self._engine.copies else (range(len(texts)), [])
        randoms = [texts[place].sampler.random for place in first]
        adapters = [texts[place].settings.adapter for place in first]
        read = [prompts[place] for place in first]
        if self._groups and self._groups[0].state.joins:
            group = self._groups[0]
            group.state.join(read, randoms, adapters)
        else:
            group = Group(self._engine.begin(read, randoms, adapters), [])
            self._groups.append(group)
        if len(first) < len(texts):
            self._copy(group, which)
        group.texts += texts

    def _copy(self, group: Group, which: Sequence[int]) -> None:
        """Go on with each prompt that was just read as often as it is wanted."""
        there = np.arange(len(group.texts))
        try:
            group.state.keep(np.concatenate([there, len(there) + np.array(which, dtype=np.int64)]))
        except ResourceError:
            # The others go on as if nobody had come.
            if len(there):
                group.state.keep(there)
            else:
                group.state.close()
                self._groups.remove(group)
            raise

    def drop(self, row: int) -> None:
        """Write no more of a text."""
        self._dropped.add(row)

    def step(self) -> Iterator[Token]:
        """Yield the next token of each text, then let the engine go on with those that do."""
        for group in list(self._groups):
            yield from self._step(group)
        self._dropped.clear()

    def _step(self, group: Group) -> Iterator[Token]:
        state, chosen_B, going_B = group.state, [], []
        for place, text in enumerate(group.texts):
            # A text ends with the stop token or a full count, whichever comes first; the stop
            # token behind a full count is not looked for.
            goes, chosen = False, 0
            if text.row not in self._dropped:
                token = _next(text, state.logits_BV[place], int(state.room_B[place]))
                yield token
                chosen = token.token_id
                goes = token.finish_reason is None and text.row not in self._dropped
            chosen_B.append(chosen)
            going_B.append(goes)
        keep_R = np.flatnonzero(going_B)
        if len(keep_R) == 0:
            state.close()
            self._groups.remove(group)
            return
        if len(keep_R) < len(group.texts):
            state.keep(keep_R)
            group.texts = [group.texts[row] for row in keep_R.tolist()]
        state.advance(np.array(chosen_B, dtype=np.int64)[keep_R])

    def is_idle(self) -> bool:
        """Say whether no text is being written."""
        return not self._groups

    def close(self) -> None:
        """Write no more of any text."""
        for group in self._groups:
            group.state.close()
        self._groups = []


def refuse_lacking(engine: Engine, settings: Settings) -> None:
    """Refuse what an engine cannot honour.

    Raises:
        ConfigError: A setting is not off that it lacks (``INFER-052``).
    """
    for name in sorted(engine.lacks):
        if getattr(settings, name) != getattr(OFF, name):
            raise ConfigError("INFER-052", where=name, name=name, engine=engine.name)


def _once(prompts: Sequence[np.ndarray], texts: Sequence[Text]) -> tuple[list[int], list[int]]:
    """Return where each different prompt stands first, and which of these each text goes on."""
    known: dict[tuple[bytes, str | None], int] = {}
    first: list[int] = []
    which: list[int] = []
    for place, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        key = (prompt.tobytes(), text.settings.adapter)
        if key not in known:
            known[key] = len(first)
            first.append(place)
        which.append(known[key])
    return first, which


def generate(
    engine: Engine,
    prompts: Sequence[np.ndarray],
    settings: Sequence[Settings],
    places: Sequence[int] | None = None,
) -> Iterator[Token]:
    """Yield the tokens of all texts in the order they are chosen.

    Args:
        engine: Runs the model.
        prompts: Token ids of each prompt.
        settings: How each text is written.
        places: Position of each text in its request, which decides its random numbers; the order of
            the prompts when not given.
    """
    writer = writer_of(engine)
    places = range(len(prompts)) if places is None else places
    try:
        yield from written(writer, prompts, settings, places)
    finally:
        writer.close()


def written(
    writer: TextWriter,
    prompts: Sequence[np.ndarray],
    settings: Sequence[Settings],
    places: Sequence[int],
) -> Iterator[Token]:
    """Yield the tokens of texts that a writer begins as soon as it has room for them."""
    waiting = list(range(len(prompts)))
    while waiting or not writer.is_idle():
        rows: list[int] = []
        while waiting:
            more = [*rows, waiting[0]]
            if not writer.has_room([prompts[i] for i in more], [settings[i] for i in more]):
                break
            rows.append(waiting.pop(0))
        if rows:
            chosen = [settings[i] for i in rows]
            writer.add(rows, [prompts[i] for i in rows], chosen, [places[i] for i in rows])
        yield from writer.step()


def _next(text: Text, logits_V: np.ndarray, room: int) -> Token:
    """Return the next token of a text; one that cannot go on fails alone, not its whole group."""
    try:
        token = text.sampler.pick(logits_V)
    except InputError as error:
        return Token(text.row, 0, "length", logits_V, is_text=False, failure=error)
    text.written += 1
    stops = token in text.settings.stop_token_ids
    finish: FinishReason | None = None
    if stops or text.sampler.ended:
        finish = "stop"
    # The newest token needs no place of its own before it is read again.
    elif text.written >= text.settings.max_new_tokens or room <= 0:
        finish = "length"
    return Token(text.row, token, finish, logits_V, is_text=not stops)


def write_all(
    engine: Engine,
    prompts: Sequence[np.ndarray],
    settings: Sequence[Settings],
    places: Sequence[int] | None = None,
) -> list[Output]:
    """Return the finished texts of all prompts, in their order; arguments as in `generate`.

    Raises:
        InputError: A schema became too complex (``INFER-072``).
    """
    token_ids: list[list[int]] = [[] for _ in prompts]
    reasons: list[FinishReason] = ["length"] * len(prompts)
    for token in generate(engine, prompts, settings, places):
        if token.failure is not None:
            raise token.failure
        if token.finish_reason is not None:
            reasons[token.row] = token.finish_reason
        if token.is_text:
            token_ids[token.row].append(token.token_id)
    return [
        Output(token_ids=ids, finish_reason=reason)
        for ids, reason in zip(token_ids, reasons, strict=True)
    ]
