"""Where the first word vectors of a recurrent model come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Kind, LocalPath
from llmwright.core.registry import Registry

# `build(request)` takes a `models.vectors.fill.VectorRequest` and returns token id → vector.
VECTORS: Registry[type[VectorsKind]] = Registry(
    "vectors",
    {
        "word2vec": "llmwright.models.vectors.config:Word2VecFile",
        "glove": "llmwright.models.vectors.config:GloveFile",
        "train": "llmwright.models.vectors.config:TrainedVectors",
    },
)


class VectorsKind(Kind):
    """Vectors that tokens begin with instead of random ones; what has none stays random."""

    freeze: bool = False
    """Leave all token vectors as they are in training, also the random ones: fewer weights to
    learn, and words that occur in no training text keep their place beside those that do."""
    scale: float = Field(1.0, gt=0)
    """Number that every vector is multiplied with. Published vectors are often several times as
    long as what a small network likes: try 0.3 when the loss falls slowly at first."""


class VectorFile(VectorsKind):
    """Vectors in a text file: a word and its numbers in each line."""

    implementation: ClassVar[str] = "llmwright.models.vectors.read:read_vectors"

    file: Annotated[str, LocalPath()]
    """The file, plain or compressed with gzip. A first line with the number of words and their size
    may be there or not. A word that it lacks is also looked for in lower case. Without an
    `embedding_size`, the token vectors get the size of those in the file."""

    def local_files(self, root: Path) -> list[Path]:
        """Return the file, for the fingerprint."""
        return [(root / Path(self.file).expanduser())]


class Word2VecFile(VectorFile):
    """Vectors in the text format of word2vec, which fastText (.vec) writes too."""

    kind: Literal["word2vec"] = "word2vec"
    """Name of this origin."""


class GloveFile(VectorFile):
    """Vectors in the text format of GloVe."""

    kind: Literal["glove"] = "glove"
    """Name of this origin."""


class TrainedVectors(VectorsKind):
    """Vectors learned from the training texts with word2vec, right before training (gensim)."""

    implementation: ClassVar[str] = "llmwright.models.vectors.learn:learn_vectors"

    kind: Literal["train"] = "train"
    """Name of this origin."""
    method: Literal["skip_gram", "cbow"] = "skip_gram"
    """`skip_gram` predicts the neighbours from a word and is better on little text; `cbow` predicts
    the word from its neighbours and is quicker."""
    window: int = Field(5, ge=1)
    """Words on each side that count as neighbours. Few: words of one kind come together; many:
    words of one topic."""
    epochs: int = Field(10, ge=1)
    """Passes over the training texts."""
    min_frequency: int = Field(2, ge=1)
    """How often a word must occur; a rarer one keeps its random vector."""
