"""Finding passages by the meaning that an encoder sees, and measuring whether it sees any.

Cosines of two encoders cannot be compared, nor those of one encoder in two languages. So each is
gauged on the user's own passages: sentences taken out of them are looked for. That gives the
cosines of what has nothing to do with each other, by which all others are measured, and says
whether the encoder finds anything at all: an English one in Chinese documents does not.

Shapes: N passages, S sentences, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llmwright.core import artifacts
from llmwright.core.artifacts import Artifact
from llmwright.inference.predictor import Predictor
from llmwright.knowledge.passages import Passage
from llmwright.knowledge.split import sentences
from llmwright.knowledge.words import is_chinese, words

# Returns the embeddings of texts, (N, D), of length 1.
Embed = Callable[[Sequence[str]], np.ndarray]

MAX_SENTENCES = 100
# With fewer, what is found says nothing.
MIN_SENTENCES = 5
# Share of sentences that must be found first for the encoder to be listened to.
MIN_FOUND = 0.7
# Shorter vectors have no direction.
TINY = 1e-12
_BLOCK_ROWS = 65536
_MIN_WORDS = 4


@dataclass(frozen=True)
class Gauge:
    """What the cosines of an encoder mean in one language.

    Attributes:
        num_sentences: Sentences that were looked for.
        found: Share of them that is nearest to the passage it was taken from.
        mean: Mean cosine of a sentence and the passages it was not taken from.
        spread: Standard deviation of those.
    """

    num_sentences: int
    found: float
    mean: float
    spread: float

    @property
    def holds(self) -> bool:
        """Whether the encoder tells passages of this language apart."""
        return self.num_sentences >= MIN_SENTENCES and self.found >= MIN_FOUND

    def measured(self, cosines: np.ndarray) -> np.ndarray:
        """Return by how many standard deviations cosines are above those of unrelated texts."""
        return np.maximum((cosines - self.mean) / max(self.spread, 1e-3), 0.0)

    def plain(self) -> dict[str, Any]:
        """Return its figures, rounded, as they are kept and told."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Encoder:
    """Embeds passages and questions.

    Attributes:
        identity: What decides the embeddings: the model's content.
        passages: Returns the embeddings of passages, (N, D), of length 1.
        questions: Returns those of questions.
    """

    identity: str
    passages: Embed
    questions: Embed


def encoder_of(predictor: Predictor) -> Encoder:
    """Return an encoder that is a model on this machine.

    Where the model knows words that come before questions and documents, they come before them.
    """
    embedding = predictor.embedding
    prompts = embedding.prompts if embedding else {}

    def embed(texts: Sequence[str], *kinds: str) -> np.ndarray:
        prompt = next((kind for kind in kinds if kind in prompts), None)
        vectors_ND = predictor.embed(texts, prompt=prompt)
        lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        found: np.ndarray = vectors_ND / np.maximum(lengths_N1, TINY)
        return found

    known = (predictor.folder / artifacts.MANIFEST).is_file()
    content = artifacts.list_files(predictor.folder)
    return Encoder(
        Artifact.open(predictor.folder).id if known else artifacts.identity_of("model", content),
        lambda texts: embed(texts, "document", "passage"),
        lambda texts: embed(texts, "query", "question"),
    )


def cosines(vectors_ND: np.ndarray, vector_D: np.ndarray) -> np.ndarray:
    """Return the cosine of each passage with one vector, (N,); vectors may lie on the disk."""
    parts = [
        vectors_ND[start : start + _BLOCK_ROWS] @ vector_D
        for start in range(0, len(vectors_ND), _BLOCK_ROWS)
    ]
    found: np.ndarray = np.concatenate(parts)
    return found


def gauge(
    encoder: Encoder, passages: Sequence[Passage], vectors_ND: np.ndarray
) -> dict[str, Gauge]:
    """Return what cosines mean, by language (``zh`` or ``en``, which stands for all others).

    Args:
        encoder: Embeds the sentences.
        passages: All passages.
        vectors_ND: Their embeddings.
    """
    places: dict[str, list[int]] = {}
    for place, passage in enumerate(passages):
        places.setdefault(language_of(passage.text), []).append(place)
    return {
        language: found
        for language, of_language in places.items()
        if (found := _gauge(encoder, passages, vectors_ND, of_language)) is not None
    }


def language_of(text: str) -> str:
    """Return the language that a text is gauged in."""
    return "zh" if is_chinese(text) else "en"


def _gauge(
    encoder: Encoder, passages: Sequence[Passage], vectors_ND: np.ndarray, places: list[int]
) -> Gauge | None:
    chosen: list[int] = []
    asked: list[str] = []
    step = max(1, len(places) // (2 * MAX_SENTENCES))
    for index, place in enumerate(places[::step]):
        within = [s for s in sentences(passages[place].text) if len(words(s)) >= _MIN_WORDS]
        if len(within) > 1 and len(asked) < MAX_SENTENCES:
            chosen.append(index)
            asked.append(within[len(within) // 2])
    if not asked:
        return None
    cosines_SN = encoder.questions(asked) @ np.asarray(vectors_ND[places[::step]]).T
    rows = np.arange(len(asked))
    own_S = cosines_SN[rows, chosen].copy()
    cosines_SN[rows, chosen] = np.nan
    if cosines_SN.shape[1] < 2:
        return None
    found = own_S > np.nanmax(cosines_SN, axis=1)
    return Gauge(
        num_sentences=len(asked),
        found=float(found.mean()),
        mean=float(np.nanmean(cosines_SN)),
        spread=float(np.nanstd(cosines_SN)),
    )
