"""Bodies of the routes that answer texts: tags, numbers, masks, targets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmwright.serving.bodies.answers import Answer, Usage
from llmwright.serving.bodies.formats import Body
from llmwright.serving.bodies.requests import Message, Options, Some, Text

Texts = Text | Annotated[list[Text], Some]


def as_list(texts: str | list[str]) -> list[str]:
    """Return one text or several as a list."""
    return [texts] if isinstance(texts, str) else texts


class Reading(Body):
    """A request about texts."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    input: Texts
    """One text or several."""
    user: str | None = None
    """Accepted and neither used nor kept."""


class TagBody(Body):
    """A request to tag the words of texts."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    input: Text | Annotated[list[Text | Annotated[list[Text], Some]], Some]
    """One text or several; a text may also be given as a list of its words."""
    user: str | None = None
    """Accepted and neither used nor kept."""


class RegressBody(Reading):
    """A request to rate texts."""

    input_pair: Texts | None = None
    """Second text of each, for a model that compares two texts."""


class FillBody(Reading):
    """A request for what stands behind masks."""

    top_k: int = Field(5, ge=1, le=5)
    """How many tokens to return for each mask, the likeliest first."""


class RewardBody(Body):
    """A request to score the last answer of conversations."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    messages: Annotated[list[Message], Some] | Annotated[list[Annotated[list[Message], Some]], Some]
    """A conversation that ends with the assistant's answer, or several."""
    user: str | None = None
    """Accepted and neither used nor kept."""

    def conversations(self) -> list[list[dict[str, str]]]:
        """Return each conversation."""
        several = [self.messages] if isinstance(self.messages[0], Message) else self.messages
        return [[turn.plain() for turn in one] for one in several]


class Seq2SeqBody(Options):
    """A request to turn texts into texts, the way the model was trained to."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    input: Texts
    """One text or several."""
    controls: dict[str, str] | None = None
    """Style of the answer, for a model that learned it, as `{"tone": "formal"}`."""
    user: str | None = None
    """Accepted and neither used nor kept."""


class Listed(Answer):
    """Answer with an entry for each text."""

    id: str
    """Id of this answer."""
    object: Literal["list"]
    """Kind of answer."""
    created: int
    """Seconds since 1970."""
    model: str
    """Name of the model."""
    usage: Usage
    """Token counts."""


class Entry(Answer):
    """What is said of one text."""

    index: int
    """Position of the text."""
    truncated: bool | None = None
    """True where the text was too long and its end was not read."""


class Entity(Answer):
    """Words that belong together."""

    label: str
    """What they are."""
    text: str
    """The words as they stand in the text."""
    start: int
    """Place of its first character; of a list of words, of its first word."""
    end: int
    """Place behind its last character, or word."""
    score: float
    """Mean probability of its words' tags."""


class Tagged(Entry):
    """Tags of one text."""

    tokens: list[str]
    """Its words."""
    tags: list[str]
    """One tag for each word."""
    scores: list[float]
    """Probability of each tag."""
    spans: list[list[int]] | None = None
    """Place of each word's first character and behind its last; left out for lists of words."""
    entities: list[Entity] | None = None
    """What the tags put together; left out where they do not say what belongs together."""


class Tagging(Listed):
    """Answer of `/v1/tag`."""

    data: list[Tagged]
    """One entry for each text, in order."""


class Rated(Entry):
    """The number of one text."""

    value: float
    """In the training data's unit."""


class Ratings(Listed):
    """Answer of `/v1/regress`."""

    data: list[Rated]
    """One entry for each text, in order."""


class Scored(Entry):
    """The score of one answer."""

    score: float
    """Higher is better; only answers to the same question can be compared."""


class Rewards(Listed):
    """Answer of `/v1/reward`."""

    data: list[Scored]
    """One entry for each conversation, in order."""


class Fill(Answer):
    """A token that may stand behind a mask."""

    token: str
    """The token."""
    score: float
    """Its probability."""


class Filled(Entry):
    """What stands behind the masks of one text."""

    text: str
    """The text with the likeliest tokens in place."""
    fills: list[list[Fill]]
    """The likeliest tokens of each mask."""


class Fills(Listed):
    """Answer of `/v1/fill`."""

    data: list[Filled]
    """One entry for each text, in order."""


class Written(Answer):
    """The text that was made of one input."""

    index: int
    """Position of the input."""
    text: str
    """The text."""
    finish_reason: Literal["stop", "length", "content_filter"]
    """`stop`: at a stop token or stop string, the end of a sentence or of a document; `length`: at
    a limit of tokens."""


class Texts2Texts(Listed):
    """Answer of `/v1/seq2seq`."""

    data: list[Written]
    """One text for each input, in order."""
