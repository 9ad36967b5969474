"""Bodies of requests: what is supported, with its bounds. Any other field is refused by name.

OpenAI's fields that this server cannot honour are listed with the one value that changes nothing
(``echo`` false, ``store`` false …), because clients send them unasked; another value is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from llmwright.serving.bodies.formats import Body, ResponseFormat
from llmwright.serving.writing import Writing

MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_BIASES = 1024
# Texts of one prompt.
MAX_TEXTS = 64
# Fields of a request that mean what they mean in `sampling.Settings`.
SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "end_sentence_after",
    "seed",
)


def _encodable(text: str) -> str:
    """Refuse lone surrogates, which JSON can express and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("not_unicode", "lone surrogates are no valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP_LENGTH)]
Some = Field(min_length=1, fail_fast=True)
TokenId = Annotated[int, Field(ge=0)]
# Strictly integers: true is none, and "7" is a text.
Tokens = Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Some]
Bias = Annotated[float, Field(ge=-100, le=100)]
Stops = Annotated[list[Stop], Field(max_length=MAX_STOPS)]


class Options(Body):
    """How a text is to be written; forms may give these as text."""

    max_tokens: int | None = Field(None, ge=1)
    """Most tokens to write; the model's own default when not given."""
    min_tokens: int | None = Field(None, ge=0)
    """Tokens that are written before the text may stop."""
    end_sentence_after: int | None = Field(None, ge=0)
    """Tokens after which the text stops with the sentence it is in; `max_tokens` still holds."""
    temperature: float | None = Field(None, ge=0, le=10)
    """0 always takes the likeliest token; 1 samples as the model was trained."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Sample among the likeliest tokens that together have this probability."""
    top_k: int | None = Field(None, ge=0)
    """Sample among this many likeliest tokens only; 0 is off."""
    min_p: float | None = Field(None, ge=0, le=1)
    """Sample among tokens with at least this share of the likeliest one's probability."""
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    """Above 1 makes tokens of prompt and text less likely."""
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    """Taken off the logit of each token that the text already has."""
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    """Taken off a token's logit once for each time the text already has it."""
    seed: int | None = Field(None, ge=0, lt=2**63)
    """Makes a sampled text repeatable."""
    stop: Stop | Stops | None = None
    """One or several strings that end the text; they are not part of it."""

    def limit(self) -> int | None:
        """Return the most tokens to write, None for the model's default."""
        return self.max_tokens

    def biases(self) -> dict[int, float] | None:
        """Return what is added to the logits of some tokens."""
        return None

    def num_scores(self) -> int | None:
        """Return how many likeliest tokens are told of each place, None for no probabilities."""
        return None

    def tells_ids(self) -> bool:
        """Say whether token ids are told."""
        return False

    def writing(self, may_cut: bool = False) -> Writing:
        """Return how the text is to be written; ``may_cut`` as in `Writing`."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        chosen = {name: getattr(self, name) for name in SAMPLING}
        asked = {
            "max_new_tokens": self.limit(),
            "min_new_tokens": self.min_tokens,
            **chosen,
            "logit_bias": self.biases(),
            "stop": tuple(stops) or None,
        }
        return Writing(
            generation={name: value for name, value in asked.items() if value is not None},
            num_scores=self.num_scores(),
            may_cut=may_cut,
            tells_ids=self.tells_ids(),
        )


class StreamOptions(Body):
    """What a stream holds besides text."""

    include_usage: bool = False
    """Send token counts in one more chunk at the end."""
    include_obfuscation: Literal[False] = False
    """Only false is supported."""


class TextBody(Options):
    """Fields of every request for a text."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    controls: dict[str, str] | None = None
    """Style of the answer, for a model that learned it, as `{"tone": "formal"}`."""
    stream: bool = False
    """Send the text while it is written, as server-sent events that end with `[DONE]`."""
    stream_options: StreamOptions | None = None
    """What a stream holds besides text."""
    n: int = Field(1, ge=1, le=MAX_TEXTS)
    """Texts per prompt, each with random numbers of its own; without randomness all are equal."""
    response_format: ResponseFormat | None = None
    """What the text must be: `{"type": "json_object"}` for any JSON object, or JSON that fulfils a
    schema. Say in the prompt that JSON is wanted: the model is held to it, not told."""
    return_token_ids: bool = False
    """Tell the ids of the tokens of prompt and text."""
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=MAX_BIASES)] | None = None
    """Token id → what is added to its logit, -100 to 100."""
    user: str | None = None
    """Accepted and neither used nor kept."""
    store: Literal[False] | None = None
    """Only false is supported: nothing is kept."""

    def biases(self) -> dict[int, float] | None:
        """Return what is added to the logits of some tokens."""
        return self.logit_bias

    def tells_ids(self) -> bool:
        """Say whether token ids are told."""
        return self.return_token_ids

    def schema_of(self) -> Any:
        """Return the JSON schema that the text must fulfil, None for any text."""
        return None if self.response_format is None else self.response_format.schema_of()


class CompletionBody(TextBody):
    """A request to continue a text, or to answer an input the way the model was trained to."""

    prompt: Text | Tokens | Annotated[list[Text], Some] | Annotated[list[Tokens], Some]
    """Text to continue or input to answer, or its token ids, which are read as they are; a list of
    these gets a text, or `n` texts, for each."""
    best_of: int | None = Field(None, ge=1)
    """Only the value of `n` is supported: no text is written that is not sent."""
    echo: Literal[False] | None = None
    """Only false is supported."""
    logprobs: int | None = Field(None, ge=0, le=5)
    """Tell each token's log-probability and those of so many of the likeliest of its place."""

    def prompts(self) -> list[str] | list[list[int]]:
        """Return each prompt."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt

    def num_scores(self) -> int | None:
        """Return how many likeliest tokens are told of each place, None for no probabilities."""
        return self.logprobs


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    """Only text is supported."""
    text: Text
    """The text."""


class Message(Body):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks; `developer` is read as `system`."""
    content: Text | Annotated[list[TextPart], Some]
    """What is said."""

    def plain(self) -> dict[str, str]:
        """Return role and content as one text."""
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return {"role": role, "content": self.content}
        return {"role": role, "content": "".join(part.text for part in self.content)}


class ChatBody(TextBody):
    """A request for the next turn of a conversation."""

    messages: Annotated[list[Message], Some]
    """The conversation so far; the last turn is not the assistant's."""
    knowledge: bool | None = None
    """Whether to answer from the server's documents, with their passages in `citations`; true where
    it has some."""
    max_completion_tokens: int | None = Field(None, ge=1)
    """Same as `max_tokens`, by its newer name."""
    logprobs: bool | None = None
    """Tell each token's log-probability."""
    top_logprobs: int | None = Field(None, ge=0, le=20)
    """How many of the likeliest tokens of each place are told too; needs `logprobs`."""

    def num_scores(self) -> int | None:
        """Return how many likeliest tokens are told of each place, None for no probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def limit(self) -> int | None:
        """Return the most tokens to write, None for the model's default."""
        return self.max_completion_tokens or self.max_tokens


class ClassifyBody(Body):
    """A request to classify texts."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    input: Text | Annotated[list[Text], Some]
    """One text or several."""
    input_pair: Text | Annotated[list[Text], Field(fail_fast=True)] | None = None
    """Second text of each, for a model that compares two texts."""
    top_k: int | None = Field(None, ge=1)
    """How many scores to return, the highest first; all when not given."""
    user: str | None = None
    """Accepted and neither used nor kept."""


class LoadAdapterBody(Body):
    """Body of `/v1/load_lora_adapter`."""

    lora_name: Annotated[Text, Field(pattern=r"^[\w.:/-]{1,128}$")]
    """What requests call it, as their `model`."""
    lora_path: Annotated[Text, Field(min_length=1, max_length=4096)]
    """The adapter: a folder, as the server sees it, or the id of an artifact."""
    model: Text | None = None
    """Name of the model that it was trained on; the server's first when not given."""
    load_inplace: bool = False
    """Whether a loaded adapter of this name is replaced; else that is refused."""


class UnloadAdapterBody(Body):
    """Body of `/v1/unload_lora_adapter`."""

    lora_name: Text
    """Name of the adapter."""
