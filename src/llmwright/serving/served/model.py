"""The served model: what it can answer, and how it does, in the worker's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from llmwright.data.records import Row
from llmwright.inference.predictor import Delta, Prediction, Predictor
from llmwright.inference.writing.generation import Token, Writer
from llmwright.inference.writing.sampling import Settings
from llmwright.serving.door.errors import ApiError
from llmwright.serving.served.fields import Fields, fields_of
from llmwright.serving.writing import Piece, Writing
from llmwright.tasks.task import Example

ROUTES = {
    "write": "/v1/completions",
    "chat": "/v1/chat/completions",
    "classify": "/v1/classify",
}
# What models do that neither write texts nor tell labels of them, by task.
OTHERS = {
    "token-classification": "tag",
    "text-regression": "rate",
    "reward": "rate",
    "fill-mask": "fill",
    "text-embedding": "embed",
}


@dataclass(frozen=True)
class Begun:
    """A text that is to be written.

    Attributes:
        prompt_T: Token ids.
        settings: How it is written.
        speak: Makes pieces of its tokens, one of each.
    """

    prompt_T: np.ndarray
    settings: Settings
    speak: Callable[[Iterator[Token]], Iterator[Piece]]


class ServedModel:
    """One model under a name.

    Args:
        predictor: The loaded model.
        name: What clients call it.
        artifact: Id of its artifact.
        kind: ``model`` or ``export``.
        created: When it was made, in seconds since 1970.
    """

    def __init__(
        self, predictor: Predictor, name: str, artifact: str = "", kind: str = "model",
        created: int = 0,
    ) -> None:  # fmt: skip
        self.predictor = predictor
        self.contract = predictor.contract
        self.name = name
        self.artifact = artifact
        self.kind = kind
        self.created = created
        self.fields: Fields = fields_of(self.contract)

    @cached_property
    def abilities(self) -> frozenset[str]:
        """What it can do: write, chat, classify, tag, fill, rate or embed."""
        if not self.fields.generates:
            return frozenset({OTHERS.get(self.contract.task, "classify")})
        chats = self.contract.row_type == "messages"
        return frozenset({"write", "chat"} if chats else {"write"})

    @property
    def reads_pairs(self) -> bool:
        """Whether it compares two texts."""
        return "text_pair" in self.contract.fields

    @property
    def routes(self) -> list[str]:
        """Routes it answers."""
        return ["/generate", *(route for name, route in ROUTES.items() if name in self.abilities)]

    def must(self, ability: str, route: str) -> None:
        """Refuse a route the model cannot answer.

        Raises:
            ApiError: It cannot (400); the message names the routes it answers.
        """
        if ability in self.abilities:
            return
        routes = ", ".join(self.routes)
        if ability == "chat" and "write" in self.abilities:
            raise ApiError(400, "no_chat", name=self.name, routes=routes)
        raise ApiError(
            400, "not_able", name=self.name, task=self.contract.task, route=route, routes=routes
        )

    def text_row(self, text: str, pair: str | None) -> Row:
        """Return the row of a text that is to be classified, or of two."""
        names, values = self.contract.fields, {"text": text, "text_pair": pair}
        return self.predictor.read({names.get(n, n): v for n, v in values.items()})

    def prompt_row(self, prompt: str, controls: dict[str, str] | None = None) -> Row:
        """Return the row behind a prompt of ``/v1/completions``."""
        return self.predictor.read({self.predictor.text_name: prompt, "controls": controls})

    def read(self, values: Mapping[str, Any]) -> tuple[Row, Writing | None]:
        """Return the canonical row of a request to ``/generate`` and how to write.

        Raises:
            ApiError, LLMwrightError: A field is unknown, missing or of another kind (400).
            pydantic.ValidationError: An option is wrong.
        """
        row, writing = self.fields.read(values)
        return self.predictor.read(row), writing

    def answer(self, rows: Sequence[Row], batch_size: int) -> list[Prediction]:
        """Return one answer per row, in order; ``batch_size`` of them go through together."""
        return list(self.predictor.predict_full(rows, batch_size))

    def writer(self) -> Writer:
        """Return what writes texts with this model, several at once."""
        return Writer(self.predictor.engine)

    def begin(self, row: Row, writing: Writing) -> Begun:
        """Return what a writer needs for a text, and what makes pieces of its tokens.

        Raises:
            ApiError: The prompt is too long and may not be cut (400).
            LLMwrightError: The row cannot be encoded.
        """
        example = self.predictor.encode(row)
        if example.truncated and not writing.may_cut:
            raise ApiError(400, "too_long", limit=self.contract.max_length)
        settings = self.predictor.settings(**writing.generation)
        unknown = max(settings.logit_bias, default=0)
        if unknown >= len(self.predictor.tokenizer):
            count = len(self.predictor.tokenizer)
            raise ApiError(400, "unknown_token", param="logit_bias", token=unknown, count=count)
        speak = partial(self._pieces, example, settings, writing.num_scores)
        return Begun(example.input_ids_T, settings, speak)

    def _pieces(
        self, example: Example, settings: Settings, num_scores: int | None, tokens: Iterator[Token]
    ) -> Iterator[Piece]:
        """Yield a text piece by piece, one for each of its tokens."""
        count = len(example.input_ids_T)
        for delta in self.predictor.spoken(tokens, settings, count, num_scores):
            yield _piece(delta, example.truncated)

    def card(self) -> dict[str, Any]:
        """Return what ``/v1/models`` says about it."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "llmwright",
            "task": self.contract.task,
            "engine": self.predictor.engine.name,
            "artifact": self.artifact,
            "num_parameters": self.contract.num_parameters,
            "max_length": self.contract.max_length,
            "fields": {
                "input": [*self.fields.needed, *self.fields.also],
                "output": list(self.fields.outputs.values()),
            },
            "labels": self.contract.labels,
            "controls": self.contract.controls,
            "routes": self.routes,
        }


def _piece(delta: Delta, truncated: bool) -> Piece:
    return Piece(
        delta.text,
        delta.num_input_tokens,
        delta.num_output_tokens,
        delta.finish_reason,
        truncated,
        delta.scores,
        delta.token_ids,
    )
