"""Bodies of the routes about vectors: embeddings, and documents in the order of their relevance."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from llmwright.serving.bodies.answers import Answer
from llmwright.serving.bodies.formats import Body
from llmwright.serving.bodies.requests import Some, Text, Tokens


class EmbedBody(Body):
    """A request for vectors of texts."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    input: Text | Tokens | Annotated[list[Text], Some] | Annotated[list[Tokens], Some]
    """One text or several, or their token ids."""
    encoding_format: Literal["float", "base64"] = "float"
    """`base64`: the vector's float32 numbers, little-endian, as OpenAI's clients ask for."""
    dimensions: int | None = Field(None, ge=1)
    """Only the model's own number of dimensions is supported."""
    input_type: str | None = None
    """What the texts are, for a model that has words before them: `query`, `document` …"""
    user: str | None = None
    """Accepted and neither used nor kept."""

    def texts(self) -> list[str] | list[list[int]]:
        """Return each text."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return self.input


class ReadUsage(Answer):
    """Token counts."""

    prompt_tokens: int
    """Tokens read."""
    total_tokens: int
    """The same."""


class Vector(Answer):
    """The vector of one text."""

    object: Literal["embedding"]
    """Kind of answer."""
    index: int
    """Position of the text."""
    embedding: list[float] | str
    """The vector, as `encoding_format` says."""
    truncated: bool | None = None
    """True where the text was too long and its end was not read."""


class Embeddings(Answer):
    """Answer of `/v1/embeddings`."""

    object: Literal["list"]
    """Kind of answer."""
    model: str
    """Name of the model."""
    data: list[Vector]
    """One vector for each text, in order."""
    usage: ReadUsage
    """Token counts."""


class Document(Body):
    """A document."""

    text: Text
    """The text."""


class RerankBody(Body):
    """A request to sort documents by how well they answer a question."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    query: Text
    """What is looked for."""
    documents: Annotated[list[Text | Document], Some]
    """Texts, or objects with `text`."""
    top_n: int | None = Field(None, ge=1)
    """How many to return, the best first; all when not given."""
    return_documents: bool = False
    """Return the texts, too."""
    user: str | None = None
    """Accepted and neither used nor kept."""

    def texts(self) -> list[str]:
        """Return the text of each document."""
        return [one if isinstance(one, str) else one.text for one in self.documents]


class Ranked(Answer):
    """One document."""

    index: int
    """Position of the document in the request."""
    relevance_score: float
    """How well it answers; `method` says what the number is."""
    document: dict[str, Any] | None = None
    """Its `text`, where it was asked for."""


class Ranking(Answer):
    """Answer of `/v1/rerank`."""

    id: str
    """Id of this answer."""
    object: Literal["list"]
    """Kind of answer."""
    model: str
    """Name of the model."""
    method: Literal["classifier", "regression", "reward", "cosine"]
    """What the scores are: the probability of a label, a number in the training data's unit, a
    reward, or the cosine of two vectors."""
    label: str | None = None
    """The label, of a classifier."""
    results: list[Ranked]
    """The best first; equal ones in the order of the request."""
    usage: ReadUsage
    """Token counts."""
