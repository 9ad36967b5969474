"""Asking a finished model from Python: answers, files of them, conversations; and documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from llmwright.core import pipeline, plugins
from llmwright.core.artifacts import Artifact
from llmwright.core.config import parse
from llmwright.core.errors import InputError
from llmwright.core.events import Emit, Event, Notice, Progress
from llmwright.core.project import Project
from llmwright.inference.remote.elsewhere import ANYWHERE
from llmwright.operations import OPERATIONS

if TYPE_CHECKING:
    import numpy as np

    from llmwright.inference.chat import Conversation
    from llmwright.inference.predictor import Predictor
    from llmwright.knowledge.search import Knowledge

Place = Project | Path | str | None
Reference = Artifact | Path | str


def open_project(place: Place = None) -> Project:
    """Return the project of a folder (the current one by default), plugins loaded."""
    if isinstance(place, Project):
        project = place
    else:
        project = Project.find(OPERATIONS, Path(place) if place else None)
    plugins.load_project_plugins(project)
    return project


def plain(value: Any) -> Any:
    """Return settings in which artifacts and paths are the text that configs hold."""
    if isinstance(value, Artifact):
        return str(value.path)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def predict(
    rows: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]],
    *,
    model: Reference | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    controls: Mapping[str, str] | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
    **generation: Any,
) -> list[dict[str, Any]]:
    """Return a model's answers, in order.

    Args:
        rows: Texts, or mappings with the field names of the training data; one of them alone is
            one row.
        model: Model or export, a folder of Hugging Face or a name on its hub; the newest of the
            project by default.
        engine: What runs it; ``auto`` takes the one its files are for.
        batch_size: Rows that go through the model together.
        controls: How answers are to be, for a model that learned it, as in ``{"tone": "formal"}``.
        project: The folder to work in; the current one by default.
        consumers: Are told which engine was chosen and why, and what else one should know.
        **generation: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``.
    """
    predictor = predictor_of(model, engine, project, controls, consumers)
    several = [rows] if isinstance(rows, str | Mapping) else rows
    read = [predictor.read(row) for row in several]
    return list(predictor.predict(read, batch_size=batch_size, **generation))


def embed(
    texts: str | Iterable[str],
    *,
    model: Reference | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    prompt: str | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> np.ndarray:
    """Return a vector for each text, (N, D) in float32; those of like texts point alike.

    Args:
        texts: The texts; one alone is one row.
        model: As in `predict`; any that reads texts, good ones from a sentence encoder.
        engine: What runs it; ``auto`` takes the one its files are for.
        batch_size: Texts that go through the model together.
        prompt: Name of the words that come before each text, for a model that has some
            (``query``).
        project: The folder to work in; the current one by default.
        consumers: Are told what a user should know of the model.
    """
    predictor = predictor_of(model, engine, project, consumers=consumers)
    return predictor.embed([texts] if isinstance(texts, str) else texts, batch_size, prompt)


def predict_file(
    source: Path | str,
    out: Path | str | BinaryIO,
    *,
    model: Reference | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
    header: bool | None = None,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    controls: Mapping[str, str] | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
    **generation: Any,
) -> dict[str, Any]:
    """Answer each row of a file; a call that was interrupted goes on where it was.

    Args:
        source: Any file that `prepare` reads.
        out: Where the answers go, in the order of the rows: ``.jsonl``, ``.csv``, ``.tsv``,
            ``.parquet``, or a binary stream.
        model: Model or export; the newest of the project by default.
        engine: What runs it; ``auto`` takes the one its files are for.
        batch_size: Rows that go through the model together.
        format: Format of the file; this and the next four are found by content when not given,
            as in `PrepareConfig`.
        encoding: Character encoding of the file.
        delimiter: Character between columns.
        quoted: Whether double quotes enclose cells.
        header: Whether the first record names the columns.
        columns: The model's field → the file's column, as in ``{"text": "review"}``.
        strict: End at the first row that cannot be answered (``INFER-063``).
        controls: How answers are to be, for a model that learned it, as in ``{"tone": "formal"}``.
        project: The folder to work in; the current one by default.
        consumers: Receive the progress.
        **generation: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``.

    Returns:
        ``count`` of the rows in the output file, ``skipped`` of those that were there already,
        ``failed`` of those without an answer, and ``first_failure``: ``row`` and ``reason``.
    """
    from llmwright.data.config import PrepareConfig
    from llmwright.inference.predict import predict_file as answer_file

    names = ("format", "encoding", "delimiter", "quoted", "header")
    given = zip(names, (format, encoding, delimiter, quoted, header), strict=True)
    settings = {name: value for name, value in given if value is not None}
    reading = parse(PrepareConfig, {"source": str(source), **settings}, "predict")
    asked = predictor_of(model, engine, project, controls, consumers)
    target = Path(out) if isinstance(out, str) else out
    how = {"columns": columns, "strict": strict, "batch_size": batch_size, **generation}
    return answer_file(asked, Path(source), target, reading=reading, consumers=consumers, **how)


def chat(
    *,
    model: Reference | None = None,
    engine: str = "auto",
    system: str | None = None,
    controls: Mapping[str, str] | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
    **generation: Any,
) -> Conversation:
    """Return a conversation with a model: ``say(text)`` yields its answer piece by piece.

    Args:
        model: Model or export; the newest of the project by default.
        engine: What runs it; ``auto`` takes the one its files are for.
        system: System prompt.
        controls: How answers are to be, for a model that learned it, as in ``{"tone": "formal"}``.
        project: The folder to work in; the current one by default.
        consumers: Are told which engine was chosen and why, and what else one should know.
        **generation: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``.
    """
    from llmwright.inference.chat import Conversation

    asked = predictor_of(model, engine, project, controls, consumers)
    return Conversation(asked, system=system, **generation)


def documents(
    knowledge: Mapping[str, Any] | Path | str,
    *,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Knowledge:
    """Return a folder of documents, indexed as it is now: ``search(question)`` finds passages.

    Args:
        knowledge: The folder, or settings as in `KnowledgeConfig`.
        project: The folder to work in, whose store keeps the index; the current one by default.
        consumers: Are told what is read and left out, and how far the indexing is.

    Raises:
        InputError: No such folder (``KNOW-001``), or nothing in it to search (``KNOW-002``).
    """
    from llmwright.knowledge.config import KnowledgeConfig
    from llmwright.knowledge.dense import encoder_of
    from llmwright.knowledge.indexing import open_index
    from llmwright.knowledge.search import Knowledge

    place = open_project(project)
    given = plain(knowledge)
    config = parse(KnowledgeConfig, given if isinstance(given, dict) else {"folder": given})
    encoder = None
    if config.encoder is not None:
        encoder = encoder_of(predictor_of(config.encoder, "auto", place, None, consumers))
    index = open_index(config, place.root, place.home, encoder, Told(consumers))
    return Knowledge(index, config, encoder)


class Told:
    """Hands sentences and progress to consumers of events."""

    def __init__(self, consumers: Sequence[Emit]) -> None:
        self._consumers = consumers

    def notice(self, sentence: str, level: Literal["info", "warning"] = "info") -> None:
        """Hand on a sentence."""
        _tell(self._consumers, Notice(sentence, level))

    def progress(
        self, stage: str, done: float, total: float | None, unit: str = "", **values: float
    ) -> None:
        """Hand on how far the work is."""
        _tell(self._consumers, Progress(stage, done, total, unit, values))


def predictor_of(
    model: Reference | None,
    engine: str,
    place: Place,
    controls: Mapping[str, str] | None = None,
    consumers: Sequence[Emit] = (),
) -> Predictor:
    """Return the model that is asked, loaded; say which engine runs it.

    Raises:
        InputError: There is none (``CORE-062``), or its files, engine or styles are wrong.
    """
    from llmwright.inference.proof.sound import open_sound

    project = open_project(place)
    reference = None if model is None else str(plain(model))
    found = pipeline.find_artifact(project, "model|export", reference, elsewhere=ANYWHERE)
    if found is None:
        raise InputError("CORE-062", field="model", kind="model / export")
    predictor = open_sound(found.path, engine, partial(_tell, consumers))
    predictor.set_controls(controls or {})
    _tell(consumers, Notice(predictor.choice))
    for note in predictor.notes:
        _tell(consumers, Notice(note, "warning"))
    return predictor


def _tell(consumers: Sequence[Emit], event: Event) -> None:
    for consumer in consumers:
        consumer(event)
