"""How well a document answers a question, with whatever kind of model is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from llmwright.serving.door.errors import ApiError
from llmwright.serving.served.model import ServedModel

Method = Literal["classifier", "regression", "reward", "cosine"]
# What labels are called that say yes, in the data sets of pairs.
YES = ("1", "yes", "true", "relevant", "entailment", "duplicate", "paraphrase", "equivalent",
       "positive", "label_1")  # fmt: skip
# What models call the words before a document.
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
QUERY_PROMPTS = ("query", "question", "search_query")


@dataclass(frozen=True)
class Relevance:
    """What is asked of the model, and how its answers become scores.

    Attributes:
        method: What the scores are.
        rows: To be answered.
        answer: What of the model answers them; its usual answers when None.
        scores: Answers → a score for each document.
        label: Of a classifier, whose probability it is.
    """

    method: Method
    rows: Sequence[Any]
    answer: Callable[[Sequence[Any], int], Sequence[Any]] | None
    scores: Callable[[list[dict[str, Any]]], list[float]]
    label: str | None = None


def relevance(model: ServedModel, query: str, documents: Sequence[str]) -> Relevance:
    """Return how a model compares a question with documents.

    Raises:
        ApiError: It cannot (400).
        LLMwrightError: A text cannot be read.
    """
    contract = model.contract
    if model.reads_pairs:
        rows = [model.text_row(query, document) for document in documents]
        if contract.row_type == "regression":
            return Relevance("regression", rows, None, lambda found: [a["value"] for a in found])
        label = yes_of(contract.labels)
        if label is None:
            labels = ", ".join(contract.labels)
            raise ApiError(400, "no_yes", name=model.name, labels=labels, known=", ".join(YES))
        yes = label
        return Relevance(
            "classifier", rows, None, lambda found: [a["scores"][yes] for a in found], label
        )
    if contract.task == "reward":
        rows = [model.predictor.read({"prompt": query, "answer": one}) for one in documents]
        return Relevance("reward", rows, None, lambda found: [a["score"] for a in found])
    model.must_embed("/v1/rerank")
    known = model.prompts
    texts = [{"text": query, "prompt": _first(QUERY_PROMPTS, known)}]
    name = _first(DOCUMENT_PROMPTS, known)
    texts += [{"text": document, "prompt": name} for document in documents]
    return Relevance("cosine", texts, model.vectors, _cosines)


def yes_of(labels: Sequence[str]) -> str | None:
    """Return the label that says yes; None where no one knows."""
    return next((label for label in labels if label.strip().lower() in YES), None)


def _first(names: Sequence[str], known: Sequence[str]) -> str | None:
    return next((name for name in names if name in known), None)


def _cosines(found: list[dict[str, Any]]) -> list[float]:
    vectors_ND = np.stack([answer["embedding"] for answer in found]).astype(np.float64)
    lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    vectors_ND /= np.maximum(lengths_N1, np.finfo(np.float32).tiny)
    cosines: list[float] = (vectors_ND[1:] @ vectors_ND[0]).tolist()
    return cosines
