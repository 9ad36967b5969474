"""A model that can be asked: contract, tokenizer and engine behind a few calls.

Shapes: T tokens, U scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.core import artifacts
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import InputError
from llmwright.core.events import Emit, unheard
from llmwright.data.records import Row
from llmwright.inference.answers import Delta, Prediction, TokenScore
from llmwright.inference.embedding import Embedded, Text, embed_examples, read_texts
from llmwright.inference.engines.asking import logits_of
from llmwright.inference.engines.engine import Engine, SamplingEngine
from llmwright.inference.engines.opening import choice_in_words, describe, open_engine
from llmwright.inference.scoring import MAX_LOGITS, TokenScores, score_examples
from llmwright.inference.writing.generation import (
    Token,
    generate,
    refuse_lacking,
    write_all,
)
from llmwright.inference.writing.grammar import Grammars
from llmwright.inference.writing.sampling import Settings, log_softmax
from llmwright.inference.writing.speech import Speech, speak_all
from llmwright.models.published import name_of
from llmwright.tasks.contract import Contract, Embedding
from llmwright.tasks.reading import FIELD, refuse_missing
from llmwright.tasks.task import TASKS, Example, Output, Task
from llmwright.tasks.text_embedding import embedding_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_SIZE = 32
# Rows that are sorted by length together: more rows, less padding, later first answers.
WINDOW_BATCHES = 16


class Predictor:
    """A model on this machine, ready to be asked.

    Args:
        contract: What the model promises.
        tokenizer: Its tokenizer.
        engine: Runs it.
        adapter: The engine's adapter that answers; None for the model alone.

    Attributes:
        controls: How answers are to be, where a row does not say it.
        choice: Which engine was chosen and why, in words; empty where nobody chose.
        grammars: Compiles what texts are to hold to.
        notes: What a user should know of a model that others published.
    """

    choice: str = ""

    def __init__(
        self,
        contract: Contract,
        tokenizer: PreTrainedTokenizerFast,
        engine: Engine,
        adapter: str | None = None,
    ) -> None:
        self.contract = contract
        self.tokenizer = tokenizer
        self.engine = engine
        self.adapter = adapter
        self.task: Task = TASKS.get(contract.task)()
        self.folder = engine.folder
        self.name = engine.called or name_of(engine.folder)
        self.controls: dict[str, str] = {}
        # A tokenizer of its own: schemas are compiled while the model's is in use.
        self.grammars = Grammars(lambda: describe(self.folder).tokenizer, contract.stop_token_ids)
        self.notes: list[str] = []

    @classmethod
    def open(cls, source: str | Path, engine: str = "auto", emit: Emit = unheard) -> Predictor:
        """Return the predictor of a model's or an export's folder.

        Args:
            source: The folder.
            engine: A registered engine; ``auto`` takes the one the files are for.
            emit: Is told how it goes, where that takes long.

        Raises:
            ConfigError: No such engine (``INFER-004``).
            InputError: Nothing to run (``INFER-001``), or damaged files.
            CheckError, InputError: As `describe`.
        """
        folder = Path(source)
        said = describe(folder)
        opened = open_engine(folder, said.contract, engine, emit)
        found = cls(said.contract, said.tokenizer, opened)
        found.choice = choice_in_words(found.engine, engine)
        found.notes = said.notes
        return found

    def with_adapter(self, name: str, folder: Path) -> Predictor:
        """Return a predictor that answers through an adapter over this one's model.

        Both share the model's memory. The adapter keeps its own contract and tokenizer, so answers
        are those of its artifact opened alone.

        Args:
            name: What the engine calls it; one that has the name already is replaced.
            folder: The adapter's artifact.

        Raises:
            CheckError, InputError: As `open` and `Engine.load_adapter`.
        """
        said = describe(folder)
        self.engine.load_adapter(name, folder)
        found = Predictor(said.contract, said.tokenizer, self.engine, name)
        found.folder, found.name = folder, folder.name
        return found

    def close(self) -> None:
        """Give the model's memory back, or an adapter's; may be called twice."""
        if self.adapter is None:
            self.engine.close()
        elif self.adapter in self.engine.adapters:
            self.engine.unload_adapter(self.adapter)

    @property
    def text_name(self) -> str:
        """The user's name of the input that one bare text stands for."""
        return self.contract.fields.get(self.task.text_field, self.task.text_field)

    def read(self, values: str | Mapping[str, Any]) -> Row:
        """Return the canonical row of what a user sends: one text, or values under own names.

        Raises:
            InputError: As `Task.read`.
        """
        if not isinstance(values, Mapping):
            # What is no text either is refused by name, as any value of a field.
            values = {self.text_name: values}
        row = self.task.read(values, self.contract)
        if self.controls:
            row[FIELD] = {**self.controls, **row.get(FIELD, {})}
        return row

    def set_controls(self, controls: Mapping[str, str]) -> None:
        """Ask in a style, from now on, where a row does not say another one.

        Raises:
            InputError: The model has no such control or value (``TASK-030``, ``TASK-031``).
        """
        self.controls = self.task.controls_of({FIELD: controls}, self.contract) if controls else {}

    def check_names(self, names: Iterable[str]) -> None:
        """Check that values under these names could be read, whatever the values are.

        Raises:
            InputError: They lack an input (``TASK-003``).
        """
        values = dict.fromkeys(names, "x")
        try:
            row = self.task.row_of(values, self.contract)
        except InputError:
            # The input is there; that this is no conversation says nothing about the names.
            return
        refuse_missing(row, values, self.contract, self.task.takes_blank)

    def origin(self, settings: Settings) -> dict[str, Any]:
        """Return what decides the answers: the model's content, the engine, how texts are written.

        Args:
            settings: How texts are written.
        """
        known = (self.folder / artifacts.MANIFEST).is_file()
        model = (
            Artifact.open(self.folder).id
            if known
            else artifacts.identity_of("model", artifacts.list_files(self.folder))
        )
        written = {}
        if self.task.generates:
            written = settings.told()
        styles = {FIELD: self.controls} if self.controls else {}
        return {"model": model, "engine": self.engine.name, **written, **styles}

    def predict(
        self, rows: Iterable[Row], batch_size: int = BATCH_SIZE, **generation: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the answer to each row, in order.

        Args:
            rows: Canonical rows.
            batch_size: Rows that go through the model together.
            **generation: As in `settings`; the contract's defaults where not given.
        """
        for prediction in self.predict_full(rows, batch_size, **generation):
            yield prediction.answer

    def predict_full(
        self, rows: Iterable[Row], batch_size: int = BATCH_SIZE, **generation: Any
    ) -> Iterator[Prediction]:
        """Yield the answer to each row, in order, with token counts.

        Rows of similar length go through the model together; batches change no answer.
        """
        settings = self.settings(**generation)
        waiting = iter(rows)
        first_row = 0
        while window := list(islice(waiting, batch_size * WINDOW_BATCHES)):
            examples = [self.encode(row) for row in window]
            places = range(first_row, first_row + len(window))
            yield from self.answer(window, examples, places, batch_size, settings)
            first_row += len(window)

    def answer(
        self,
        rows: Sequence[Row],
        examples: Sequence[Example],
        places: Sequence[int],
        batch_size: int,
        settings: Settings,
    ) -> list[Prediction]:
        """Return the answers to encoded rows.

        Args:
            rows: Canonical rows.
            examples: The same, encoded.
            places: Position of each among all rows that are asked, which decides the random numbers
                of its text.
            batch_size: Rows that go through the model together.
            settings: How texts are written.
        """
        order = sorted(range(len(rows)), key=lambda i: len(examples[i].input_ids_T))
        found: dict[int, Prediction] = {}
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            outputs = self._run_batch(
                [examples[i] for i in part], settings, [places[i] for i in part]
            )
            for i, output in zip(part, outputs, strict=True):
                found[i] = self._prediction(rows[i], examples[i], output)
        return [found[i] for i in range(len(rows))]

    def settings(self, **generation: Any) -> Settings:
        """Return how texts are written: the contract's defaults with these laid over them.

        Args:
            **generation: As in `Settings.of`, and ``json_schema``, which the text shall fulfil.

        Raises:
            ConfigError: As `Settings.of`, or the engine cannot honour one (``INFER-052``).
            InputError: As `Grammars.compile`.
        """
        schema = generation.pop("json_schema", None)
        if schema is not None:
            generation["grammar"] = self.grammars.compile(schema)
        chosen = replace(Settings.of(self.contract, **generation), adapter=self.adapter)
        refuse_lacking(self.engine, chosen)
        return chosen

    def encode(self, row: Row) -> Example:
        """Return a row as the model reads it.

        Raises:
            InputError: It becomes no token at all (``INFER-025``), or as `Task.encode_input`.
        """
        example = self.task.encode_input(row, self.tokenizer, self.contract)
        if not len(example.input_ids_T):
            raise InputError("INFER-025")
        return example

    def _prediction(self, row: Row, example: Example, output: Output) -> Prediction:
        answer = self.task.answer(output, row, self.tokenizer, self.contract)
        if example.truncated:
            answer = {**answer, "truncated": True}
        return Prediction(answer, len(example.input_ids_T), len(output.token_ids))

    def _run_batch(
        self, examples: list[Example], settings: Settings, places: list[int]
    ) -> list[Output]:
        if self.task.generates:
            prompts = [example.input_ids_T for example in examples]
            samples = isinstance(self.engine, SamplingEngine)
            if samples or settings.stop or settings.end_sentence_after is not None:
                return speak_all(self.engine, self.tokenizer, prompts, settings, places)
            return write_all(self.engine, prompts, [settings] * len(prompts), places)
        found: list[Output] = []
        for part in self._within_memory(examples):
            logits = logits_of(part, self.engine, self.task, self.contract, self.adapter)
            found += [Output(logits=row) for row in logits]
        return found

    def _within_memory(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Yield examples in parts whose logits fit: a mask may be any token of the vocabulary."""
        size = len(examples)
        if self.task.masks:
            longest = max(len(example.input_ids_T) for example in examples)
            size = max(1, MAX_LOGITS // (longest * len(self.tokenizer)))
        for start in range(0, len(examples), size):
            yield examples[start : start + size]

    @property
    def embedding(self) -> Embedding | None:
        """How a text's vector is made; None where the model gives no vectors."""
        return embedding_of(self.contract) if self.engine.gives_hidden else None

    def embed(
        self, texts: Iterable[Text], batch_size: int = BATCH_SIZE, prompt: str | None = None
    ) -> np.ndarray:
        """Return a vector for each text, (N, D) in float32, in their order.

        Any model that reads texts has vectors; those of one that was made for it are good ones.

        Args:
            texts: Texts, or their token ids.
            batch_size: Texts that go through the model together.
            prompt: Name of the words that come before each text, as ``query``; the contract's
                default when not given.

        Raises:
            InputError: As `embed_full`.
        """
        return self.embed_full(texts, batch_size, prompt).vectors_ND

    def embed_full(
        self, texts: Iterable[Text], batch_size: int = BATCH_SIZE, prompt: str | None = None
    ) -> Embedded:
        """Return the vectors of texts with their token counts; arguments as in `embed`.

        Raises:
            InputError: The engine gives no vectors (``INFER-060``), or as `read_texts`.
        """
        examples = read_texts(texts, self.tokenizer, self.contract, prompt)
        return embed_examples(examples, self.engine, self.contract, batch_size, self.adapter)

    def write(
        self, example: Example, num_scores: int | None = None, **generation: Any
    ) -> Iterator[Delta]:
        """Yield a text token by token; the pieces add up to what `predict` answers.

        Args:
            example: The encoded row.
            num_scores: Score each token, and so many of the likeliest of its place.
            **generation: As in `predict`.

        Raises:
            InputError: The model writes no text (``INFER-005``).
        """
        if not self.task.generates:
            raise InputError("INFER-005", task=self.contract.task)
        prompt = example.input_ids_T
        settings = self.settings(**generation, num_scores=num_scores)
        tokens = generate(self.engine, [prompt], [settings])
        return self.spoken(tokens, settings, len(prompt), num_scores)

    def spoken(
        self,
        tokens: Iterator[Token],
        settings: Settings,
        num_inputs: int,
        num_scores: int | None = None,
    ) -> Iterator[Delta]:
        """Yield what each token of one text adds to it, until it ends.

        Args:
            tokens: Of the text, as they are chosen.
            settings: How it is written.
            num_inputs: Tokens of its prompt.
            num_scores: As in `write`.

        Raises:
            InputError: Its schema became too complex (``INFER-072``).
        """
        speech = Speech(self.tokenizer, settings)
        count = 0
        for token in tokens:
            if token.failure is not None:
                raise token.failure
            count += token.is_text
            score = None
            if num_scores is not None and token.is_text:
                score = self._score(token, num_scores)
            said = speech.push(token, (token.token_id, score))
            num_inputs, count = (token.told and token.told.usage) or (num_inputs, count)
            scores = None
            if num_scores is not None:
                scores = tuple(
                    replace(score, text=text) for text, (_, score) in said.tokens if score
                )
            ids = tuple(index for _, (index, _) in said.tokens)
            yield Delta(said.text, ids, num_inputs, count, said.finish_reason, scores)
            if said.finish_reason is not None:
                return

    def _score(self, token: Token, count: int) -> TokenScore | None:
        if token.told is not None:
            value = token.told.log_prob
            return (
                None
                if value is None
                else TokenScore(token.token_id, "", value, token.told.top[:count])
            )
        log_probs_V = log_softmax(token.logits_V)
        top = [
            (self.tokenizer.decode([int(i)]), float(log_probs_V[i]))
            for i in np.argsort(-log_probs_V, kind="stable")[:count]
        ]
        log_prob = float(log_probs_V[token.token_id])
        return TokenScore(token.token_id, "", log_prob, tuple(top))

    def stream(self, row: Row, **generation: Any) -> Iterator[str]:
        """Yield the text for one row as it is written, never a part of a character."""
        for delta in self.write(self.encode(row), **generation):
            if delta.text:
                yield delta.text

    def score(self, rows: Iterable[Row], batch_size: int = BATCH_SIZE) -> Iterator[TokenScores]:
        """Yield how likely each row's target is, token by token, in the order of the rows.

        Args:
            rows: Canonical rows with their targets.
            batch_size: Sequences that go through the model together.

        Raises:
            InputError: The model writes no text (``INFER-005``), or its engine gives no logits
                (``INFER-053``).
        """
        if not self.task.scores:
            raise InputError("INFER-005", task=self.contract.task)
        if isinstance(self.engine, SamplingEngine):
            raise InputError("INFER-053", engine=self.engine.name)
        waiting = iter(rows)
        while window := list(islice(waiting, batch_size * WINDOW_BATCHES)):
            parts = [self.task.scored(row, self.tokenizer, self.contract) for row in window]
            flat = [example for row in parts for example in row]
            scored = iter(
                score_examples(
                    flat,
                    self.engine,
                    self.task,
                    self.contract,
                    len(self.tokenizer),
                    batch_size,
                    self.adapter,
                )
            )
            for row in parts:
                found = [next(scored) for _ in row]
                ids_U, log_probs_U, right_U = (
                    np.concatenate([np.zeros(0), *(getattr(one, name) for one in found)])
                    for name in ("token_ids_U", "log_probs_U", "right_U")
                )
                cut = any(example.truncated for example in row)
                yield TokenScores(ids_U, log_probs_U, right_U, cut)
