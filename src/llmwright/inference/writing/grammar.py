"""Texts that hold to a JSON schema: which tokens may come next, from llguidance.

A schema becomes a grammar over bytes, so each token's bytes must be known and must not depend on
its neighbours. Compiling and every step have limits: a hostile schema is refused, not waited for.

Shapes: V vocabulary.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.core.errors import InputError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer
    from transformers import PreTrainedTokenizerFast

MAX_SCHEMA_BYTES = 65_536
MAX_SCHEMA_DEPTH = 64
# Compiled schemas that are kept, the least used go first.
MAX_KEPT = 32
# Between the parts of a document: a weak model would write nothing but white space, and every token
# of it costs time.
WHITE_SPACE = " ?"
# Any JSON object.
OBJECT: dict[str, Any] = {"type": "object"}
# Decoders that write a token's bytes whatever stands beside it, as llguidance reads them itself.
KNOWN_DECODERS = ("ByteLevel", "ByteFallback")
# If these join to their parts, tokens stand for themselves; word pieces, with spaces put between
# them, do not.
SAMPLE = '"a"}'
MAX_REASON = 200


class Grammar:
    """A compiled schema.

    Args:
        schema: As JSON.
        matcher: At the beginning of a document.
    """

    def __init__(self, schema: str, matcher: LLMatcher) -> None:
        self.schema = schema
        self._matcher = matcher

    def __deepcopy__(self, memo: dict[int, Any]) -> Grammar:
        # It is never changed: each text walks through a copy of the matcher.
        return self

    def start(self) -> Walk:
        """Return where a text that is still empty stands."""
        return Walk(self._matcher.deep_copy())


class Walk:
    """Where one text stands in its grammar.

    Args:
        matcher: Of this text alone.

    Attributes:
        ended: Whether the document is whole and nothing can follow.
    """

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self.ended = False

    def allowed_V(self, size: int) -> np.ndarray:
        """Return which of the first ``size`` tokens may come next.

        Raises:
            InputError: The grammar is too complex at this place (``INFER-072``).
        """
        found = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise InputError("INFER-072", reason=_short(self._matcher.get_error()))
        bits_V = np.unpackbits(found, bitorder="little")[:size].astype(bool)
        # A model may have more outputs than its tokenizer has tokens.
        return np.pad(bits_V, (0, size - len(bits_V)))

    def take(self, token: int) -> None:
        """Go on with a token that was allowed.

        Raises:
            InputError: The grammar is too complex at this place (``INFER-072``).
        """
        if not self._matcher.consume_token(token) or self._matcher.is_error():
            raise InputError("INFER-072", reason=_short(self._matcher.get_error()))
        self.ended = bool(self._matcher.is_stopped())


class Grammars:
    """Compiles schemas for one tokenizer; those used last are kept.

    Args:
        load: Returns the tokenizer, one that nobody else uses meanwhile.
        stop_token_ids: Tokens that end its texts.
    """

    def __init__(
        self, load: Callable[[], PreTrainedTokenizerFast], stop_token_ids: Iterable[int]
    ) -> None:
        self._load = load
        self._stops = sorted(stop_token_ids)
        self._vocabulary: LLTokenizer | None = None
        self._kept: OrderedDict[str, Grammar] = OrderedDict()
        # A server compiles beside its event loop, for several requests at once.
        self._lock = threading.Lock()

    def compile(self, schema: Any) -> Grammar:
        """Return the grammar of a JSON schema.

        Args:
            schema: A JSON object.

        Raises:
            InputError: The schema is too large or too deep (``INFER-070``), or is none or asks for
                what cannot be compiled (``INFER-071``); the tokenizer's tokens cannot be told apart
                (``INFER-073``).
        """
        text = checked(schema)
        with self._lock:
            if text not in self._kept:
                self._kept[text] = self._compile(text)
                if len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(text)
            return self._kept[text]

    def _compile(self, text: str) -> Grammar:
        from llguidance import LLMatcher

        if self._vocabulary is None:
            self._vocabulary = vocabulary_of(self._load(), self._stops)
        options = {"whitespace_pattern": WHITE_SPACE}
        grammar = LLMatcher.grammar_from_json_schema(text, overrides=options)  # type: ignore[arg-type]
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0, limits=_limits())
        # Some of what is wrong shows at the first token only, as a schema that nothing fulfils.
        if not matcher.is_error():
            matcher.compute_bitmask()
        if matcher.is_error():
            raise InputError("INFER-071", reason=_short(matcher.get_error()))
        return Grammar(text, matcher)


def checked(schema: Any) -> str:
    """Return a schema as JSON.

    Raises:
        InputError: It is too large or too deep (``INFER-070``), or no JSON object (``INFER-071``).
    """
    if not isinstance(schema, dict):
        raise InputError("INFER-071", reason=f"{type(schema).__name__}")
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise InputError("INFER-070", size=MAX_SCHEMA_BYTES, depth=MAX_SCHEMA_DEPTH)
    # Options of the compiler's own are nobody's business but ours.
    plain = {key: value for key, value in schema.items() if key != "x-guidance"}
    try:
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise InputError("INFER-071", reason=_short(str(error))) from error
    if size > MAX_SCHEMA_BYTES:
        raise InputError("INFER-070", size=MAX_SCHEMA_BYTES, depth=MAX_SCHEMA_DEPTH)
    return text


def _depth(value: Any) -> int:
    """Return how deep a value is nested, one beyond the limit at most; without recursion."""
    level, depth = [value], 0
    while level and depth <= MAX_SCHEMA_DEPTH:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level, depth = [item for item in inner if isinstance(item, dict | list)], depth + 1
    return depth


def vocabulary_of(tokenizer: PreTrainedTokenizerFast, stops: list[int]) -> LLTokenizer:
    """Return what llguidance knows of a tokenizer.

    Raises:
        InputError: What a token writes depends on those beside it (``INFER-073``).
    """
    from llguidance import LLTokenizer

    backend = tokenizer.backend_tokenizer
    decoder = str(backend.decoder)
    # Where no token ends a text, the grammar does; llguidance wants to be told one.
    ends = stops or [int(tokenizer.pad_token_id or 0)]
    if any(name in decoder for name in KNOWN_DECODERS):
        content = json.loads(backend.to_str())
        content["truncation"] = content["padding"] = None
        return LLTokenizer(json.dumps(content), eos_token=ends)
    return LLTokenizer(Vocabulary(tokenizer, ends), eos_token=ends)  # type: ignore[arg-type]


class Vocabulary:
    """Tokens that stand for the same characters wherever they are, as llguidance wants them.

    Args:
        tokenizer: Any fast tokenizer without bytes among its tokens.
        ends: Tokens that end a text.

    Raises:
        InputError: What a token writes depends on those beside it (``INFER-073``).
    """

    # llguidance looks for it.
    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: PreTrainedTokenizerFast, ends: list[int]) -> None:
        self.eos_token_id, self.bos_token_id = ends[0], None
        self.special_token_ids = sorted({*tokenizer.all_special_ids, *ends})
        hidden = set(self.special_token_ids)
        # The first token of a text may lose a space, so each is decoded behind another one.
        known = tokenizer.convert_tokens_to_ids(list(SAMPLE))
        before = tokenizer.decode([known[0]])
        if None in known or tokenizer.decode(known) != SAMPLE:
            raise InputError("INFER-073", kind=type(tokenizer.backend_tokenizer.model).__name__)
        self.tokens = [
            (
                str(tokenizer.convert_ids_to_tokens(index))
                if index in hidden
                else tokenizer.decode([known[0], index]).removeprefix(before)
            ).encode()
            for index in range(len(tokenizer))
        ]
        self._ids = {t: i for i, t in enumerate(self.tokens) if t and i not in hidden}
        self._longest = max(len(token) for token in self._ids)

    def __call__(self, text: bytes | str) -> list[int]:
        """Return tokens that write a text, the longest first."""
        rest = text.encode() if isinstance(text, str) else text
        found: list[int] = []
        while rest:
            sizes = range(min(self._longest, len(rest)), 0, -1)
            size = next((n for n in sizes if rest[:n] in self._ids), 0)
            if not size:
                break
            found.append(self._ids[rest[:size]])
            rest = rest[size:]
        return found


def _limits() -> LLParserLimits:
    """Return how much a schema may take: the defaults allow more than a second of work."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=500_000,
        step_lexer_fuel=100_000,
        step_max_items=20_000,
        max_lexer_states=50_000,
        max_grammar_size=50_000,
        verbose_errors=False,
    )


def _short(reason: str) -> str:
    """Return the first line of a complaint, of what the library adds about itself nothing."""
    # Options that it proposes cannot be set here.
    line = re.sub(r"\s+", " ", re.split("<state>|Enable '", reason)[0]).strip()
    return line[:MAX_REASON]
