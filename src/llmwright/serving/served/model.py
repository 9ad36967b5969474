"""The served model: what it can answer, and how it does, in the worker's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from llmwright.data.records import Row
from llmwright.inference.answers import Delta, Prediction
from llmwright.inference.predictor import Predictor
from llmwright.inference.writing.generation import TextWriter, Token, writer_of
from llmwright.inference.writing.sampling import Settings
from llmwright.serving.door.errors import ApiError
from llmwright.serving.served.offer import Offer
from llmwright.serving.writing import Piece, Writing
from llmwright.tasks.task import Example, token_ids
from llmwright.tasks.text_classification import encode_texts
from llmwright.tasks.text_embedding import read_text

# In place of a row's columns: what to read, token by token.
TOKENS = "token ids"


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


class ServedModel(Offer):
    """One loaded model under a name.

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
        super().__init__(predictor.contract, name, artifact, kind, created)
        self.predictor = predictor

    def text_row(self, text: str, pair: str | None) -> Row:
        """Return the row of a text that is to be classified, or of two."""
        names, values = self.contract.fields, {"text": text, "text_pair": pair}
        return self.predictor.read({names.get(n, n): v for n, v in values.items()})

    def prompt_row(
        self, prompt: str | Sequence[int], controls: dict[str, str] | None = None
    ) -> Row:
        """Return the row behind a prompt of ``/v1/completions``: a text, or its token ids.

        Raises:
            ApiError: An id is no token of the model, or a style is asked for beside ids (400).
            LLMwrightError: The text cannot be read.
        """
        if not isinstance(prompt, str):
            self.check_ids(prompt, "prompt")
            if controls:
                raise ApiError(400, "no_style_of_ids", param="controls")
            return {TOKENS: np.array(prompt, dtype=np.int64)}
        return self.predictor.read({self.predictor.text_name: prompt, "controls": controls})

    def check_ids(self, ids: Sequence[int], param: str) -> None:
        """Refuse ids that are no tokens of the model.

        Raises:
            ApiError: One is not (400).
        """
        count, largest = len(self.predictor.tokenizer), max(ids, default=0)
        if largest >= count:
            raise ApiError(400, "unknown_token", param=param, token=largest, count=count)

    @property
    def prompts(self) -> list[str]:
        """Names of the words that come before texts of a kind, when their vectors are made."""
        embedding = self.predictor.embedding
        return [] if embedding is None else list(embedding.prompts)

    def must_embed(self, route: str) -> None:
        """Refuse a route that needs vectors where the engine has none.

        Raises:
            ApiError: It has none (400); the message names the routes the model answers.
        """
        if self.predictor.embedding is None:
            task, routes = self.contract.task, ", ".join(self.routes)
            raise ApiError(400, "not_able", name=self.name, task=task, route=route, routes=routes)

    def check_prompt(self, name: str | None) -> None:
        """Refuse a kind of text that the model has no words for.

        Raises:
            ApiError: It has none (400).
        """
        if name is not None and name not in self.prompts:
            known = ", ".join(self.prompts) or "-"
            raise ApiError(400, "no_input_type", param="input_type", name=name, known=known)

    def vectors(self, rows: Sequence[Row], batch_size: int) -> list[Prediction]:
        """Return the vector of each text as ``embedding``.

        Args:
            rows: With ``text``, which may be token ids, and ``prompt``: the name of the words
                before it, or None.
            batch_size: Texts that go through the model together.

        Raises:
            LLMwrightError: A text cannot be read.
        """
        found: dict[int, Prediction] = {}
        for prompt in dict.fromkeys(row["prompt"] for row in rows):
            places = [place for place, row in enumerate(rows) if row["prompt"] == prompt]
            texts = [rows[place]["text"] for place in places]
            part = self.predictor.embed_full(texts, batch_size, prompt)
            for index, place in enumerate(places):
                answer: dict[str, Any] = {"embedding": part.vectors_ND[index]}
                if part.truncated[index]:
                    answer["truncated"] = True
                found[place] = Prediction(answer, part.num_tokens[index], 0)
        return [found[place] for place in range(len(rows))]

    def tokenized(self, rows: Sequence[Row], batch_size: int) -> list[Prediction]:
        """Return what ``/tokenize`` tells of each text or conversation.

        Args:
            rows: With ``text`` or ``messages``, and ``framed``: whether a text is read as the model
                reads it.
            batch_size: Not used: nothing goes through the model.

        Raises:
            LLMwrightError: A text cannot be read.
        """
        return [self._tokenized(row) for row in rows]

    def _tokenized(self, row: Row) -> Prediction:
        tokenizer = self.predictor.tokenizer
        if row["framed"] or "messages" in row:
            ids = self._ids(row)
        else:
            ids = token_ids(tokenizer, row["text"], special=False)
        told = {
            "tokens": ids,
            "token_strs": tokenizer.convert_ids_to_tokens(ids),
            "count": len(ids),
            "max_model_len": self.contract.max_length,
        }
        return Prediction(told, 0, 0)

    def _ids(self, given: Row) -> list[int]:
        """Return the tokens of a text or a conversation as the model reads it, not cut."""
        # Lengths are counted in 32 bits by the tokenizers' library.
        whole = self.contract.model_copy(update={"max_length": 2**31 - 1})
        task, tokenizer = self.predictor.task, self.predictor.tokenizer
        if "messages" in given or task.generates or self.contract.row_type == "tags":
            row = self.predictor.read(given if "messages" in given else given["text"])
            example = task.encode_input(row, tokenizer, whole)
        else:
            text = read_text(given["text"], whole)
            example = encode_texts({"text": text}, tokenizer, whole)
        found: list[int] = example.input_ids_T.tolist()
        return found

    def detokenized(self, rows: Sequence[Row], batch_size: int) -> list[Prediction]:
        """Return what ``/detokenize`` tells of each list of tokens.

        Args:
            rows: With ``tokens`` and ``plain``: whether special tokens are left out.
            batch_size: Not used: nothing goes through the model.
        """
        decode = self.predictor.tokenizer.decode
        texts = [decode(row["tokens"].tolist(), skip_special_tokens=row["plain"]) for row in rows]
        return [Prediction({"prompt": text}, 0, 0) for text in texts]

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

    def writer(self) -> TextWriter:
        """Return what writes texts with this model, several at once."""
        return writer_of(self.predictor.engine)

    def begin(self, row: Row, writing: Writing) -> Begun:
        """Return what a writer needs for a text, and what makes pieces of its tokens.

        Raises:
            ApiError: The prompt is too long and may not be cut (400).
            LLMwrightError: The row cannot be encoded.
        """
        example = self._encode(row)
        if example.truncated and not writing.may_cut:
            raise ApiError(400, "too_long", limit=self.contract.max_length)
        settings = self.predictor.settings(**writing.generation, num_scores=writing.num_scores)
        if settings.adapter not in (None, *self.predictor.engine.adapters):
            # It was unloaded while the request waited.
            raise ApiError(404, "model_not_found", param="model", name=self.name, names="-")
        unknown = max(settings.logit_bias, default=0)
        if unknown >= len(self.predictor.tokenizer):
            count = len(self.predictor.tokenizer)
            raise ApiError(400, "unknown_token", param="logit_bias", token=unknown, count=count)
        speak = partial(self._pieces, example, settings, writing)
        return Begun(example.input_ids_T, settings, speak)

    def _encode(self, row: Row) -> Example:
        """Return a row as the model reads it; ids as they are, without what would not fit."""
        if TOKENS not in row:
            return self.predictor.encode(row)
        ids_T = row[TOKENS]
        # One place must be left for the answer, where it follows the prompt.
        limit = self.contract.max_length - (self.contract.task != "seq2seq")
        return Example(ids_T[:limit], truncated=len(ids_T) > limit)

    def _pieces(
        self, example: Example, settings: Settings, writing: Writing, tokens: Iterator[Token]
    ) -> Iterator[Piece]:
        """Yield a text piece by piece, one for each of its tokens."""
        ids_T = example.input_ids_T
        told = tuple(ids_T.tolist()) if writing.tells_ids else None
        for delta in self.predictor.spoken(tokens, settings, len(ids_T), writing.num_scores):
            yield _piece(delta, example.truncated, told)

    def pulse(self) -> None:
        """Answer something short that every sound engine answers.

        Raises:
            Exception: The engine is no longer sound.
        """
        names = (self.fields.needed[0], *self.fields.also)
        row, writing = self.read(dict.fromkeys(names, "a"))
        if writing is None:
            self.answer([row], 1)
            return
        begun, writer = self.begin(row, writing), self.writer()
        try:
            writer.add([0], [begun.prompt_T], [begun.settings], [0])
            while (token := next(writer.step(), None)) is None:
                pass
            if token.failure is not None:
                raise token.failure
        finally:
            writer.close()

    def close(self) -> None:
        """Give the model's memory back; it is of no use afterwards."""
        self.predictor.close()


def _piece(delta: Delta, truncated: bool, prompt_ids: tuple[int, ...] | None) -> Piece:
    return Piece(
        delta.text,
        delta.num_input_tokens,
        delta.num_output_tokens,
        delta.finish_reason,
        truncated,
        delta.scores,
        delta.token_ids,
        prompt_ids,
    )
