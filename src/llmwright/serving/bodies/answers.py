"""Bodies of answers, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Usage(Answer):
    """Token counts."""

    prompt_tokens: int
    """Tokens read."""
    completion_tokens: int
    """Tokens written, the stop token not counted."""
    total_tokens: int
    """Both."""


class TextChoice(Answer):
    """One written text."""

    index: int
    """Position of the text: those of the first prompt come first."""
    text: str
    """The text, without the prompt."""
    logprobs: dict[str, Any] | None
    """Log-probabilities of its tokens, where they were asked for."""
    finish_reason: Literal["stop", "length", "content_filter"]
    """`stop`: at a stop token or stop string, the end of a sentence or of a document; `length`: at
    a limit of tokens; `content_filter`: ended by a guard."""
    prompt_token_ids: list[int] | None = None
    """Tokens of the prompt, where they were asked for."""
    token_ids: list[int] | None = None
    """Tokens of the text, where they were asked for."""


class Completion(Answer):
    """Answer of `/v1/completions`."""

    id: str
    """Id of this answer."""
    object: Literal["text_completion"]
    """Kind of answer."""
    created: int
    """Seconds since 1970."""
    model: str
    """Name of the model."""
    choices: list[TextChoice]
    """`n` texts for each prompt."""
    usage: Usage
    """Token counts."""


class ChatMessage(Answer):
    """The assistant's turn."""

    role: Literal["assistant"]
    """Who speaks."""
    content: str
    """What is said."""


class ChatChoice(Answer):
    """One answer in a conversation."""

    index: int
    """Position of the answer."""
    message: ChatMessage
    """The assistant's turn."""
    logprobs: dict[str, Any] | None
    """Log-probabilities of its tokens, where they were asked for."""
    finish_reason: Literal["stop", "length", "content_filter"]
    """`stop`: at a stop token or stop string, the end of a sentence or of a document; `length`: at
    a limit of tokens; `content_filter`: ended by a guard."""
    token_ids: list[int] | None = None
    """Tokens of the text, where they were asked for."""


class FoundPassage(Answer):
    """A passage of the server's documents."""

    number: int
    """Number by which answers cite it, as in `[1]`."""
    text: str
    """What it says."""
    source: str
    """Path of its file within the folder of documents."""
    heading: str
    """Headings above it; empty when there is none."""
    row: int | None
    """Number of the row it is of a table, from 1 on."""
    start: int
    """Its first character in the document, a line end counted as one."""
    end: int
    """Behind its last character."""
    score: float
    """How likely it is to speak of what is asked, 0 to 1."""


class Cited(FoundPassage):
    """A passage that an answer was made from."""

    cited: bool | None = None
    """Whether the answer cites it; left out where no model wrote one."""


class Found(Answer):
    """Answer of `/v1/search`."""

    id: str
    """Id of this answer."""
    object: Literal["list"]
    """Kind of answer."""
    created: int
    """Seconds since 1970."""
    known: bool
    """Whether the best passage is good enough to answer from."""
    data: list[FoundPassage]
    """The passages, the best first; also those that are not good enough."""


class Answered(Answer):
    """Answer of `/v1/answer`."""

    id: str
    """Id of this answer."""
    object: Literal["answer"]
    """Kind of answer."""
    created: int
    """Seconds since 1970."""
    model: str | None
    """Model that writes answers; null where none converses."""
    known: bool
    """Whether the documents have passages that are good enough to answer from."""
    answer: str | None
    """What the model wrote, or that it is not known; null where the passages are the answer."""
    citations: list[Cited]
    """The passages that the answer was made from."""
    usage: Usage
    """Token counts."""


class ChatCompletion(Answer):
    """Answer of `/v1/chat/completions`."""

    id: str
    """Id of this answer."""
    object: Literal["chat.completion"]
    """Kind of answer."""
    created: int
    """Seconds since 1970."""
    model: str
    """Name of the model."""
    choices: list[ChatChoice]
    """`n` answers."""
    known: bool | None = None
    """Whether the server's documents have passages to answer from; left out without documents."""
    citations: list[Cited] | None = None
    """The passages that the answer was made from; left out without documents."""
    prompt_token_ids: list[int] | None = None
    """Tokens of the prompt, where they were asked for."""
    usage: Usage
    """Token counts."""


class Classified(Answer):
    """Labels of one text."""

    index: int
    """Position of the text."""
    label: str | None = None
    """The likeliest label; left out by models that give several labels at once."""
    labels: list[str] | None = None
    """Labels that hold; only of models that give several labels at once."""
    scores: dict[str, float]
    """Label → probability, the highest first."""


class Classification(Answer):
    """Answer of `/v1/classify`."""

    id: str
    """Id of this answer."""
    object: Literal["list"]
    """Kind of answer."""
    created: int
    """Seconds since 1970."""
    model: str
    """Name of the model."""
    data: list[Classified]
    """One entry for each text, in order."""
    usage: Usage
    """Token counts."""


class ProbeReport(Answer):
    """How the loaded model answers its recorded probes: some at first, more in idle moments."""

    status: Literal["passed", "failed", "skipped"]
    """`skipped`: the model has no probes, the check was switched off, or it is not loaded yet."""
    count: int
    """Probes that were run so far."""
    recorded: int
    """Probes that were recorded."""
    details: dict[str, Any]
    """Largest difference, agreement, tolerance."""


class ModelCard(Answer):
    """A served model."""

    id: str
    """Name to use as `model`."""
    object: Literal["model"]
    """Kind of answer."""
    created: int
    """When it was made, in seconds since 1970."""
    owned_by: Literal["llmwright"]
    """Always `llmwright`."""
    task: str
    """What it does."""
    engine: str | None
    """What runs it; null while it is not loaded."""
    number_format: str | None
    """How its weights are stored, as `float32` or `q8_0`; null while it is not loaded."""
    parent: str | None
    """Of an adapter: the model that it is loaded over."""
    state: Literal["unloaded", "loading", "ready", "failed"]
    """Whether it can answer; an unloaded one is loaded when it is asked for."""
    problem: str | None
    """Why it failed or was unloaded."""
    memory_bytes: int
    """Memory it took when it was loaded; before that an estimate."""
    artifact: str
    """Id of its artifact."""
    num_parameters: int
    """Number of weights."""
    max_length: int
    """Longest input in tokens; longer ones are cut and the answer says so."""
    fields: dict[str, list[str]]
    """Names that `/generate` reads (`input`) and answers with (`output`)."""
    labels: list[str]
    """Labels it can give."""
    controls: dict[str, list[str]]
    """Styles it can be asked for: name → values, besides `any`."""
    routes: list[str]
    """Routes it answers."""
    probes: ProbeReport
    """How it answered its recorded probes."""


class ModelList(Answer):
    """Answer of `/v1/models`."""

    object: Literal["list"]
    """Kind of answer."""
    data: list[ModelCard]
    """The served models."""


class ErrorDetail(Answer):
    """What went wrong."""

    message: str
    """What is wrong and what to do."""
    type: str
    """Family of the error."""
    param: str | None
    """Field of the request it is about."""
    code: str
    """Name of the error."""


class ErrorAnswer(Answer):
    """Answer of every refused request."""

    error: ErrorDetail
    """What went wrong."""


class Health(Answer):
    """Answer of the health routes."""

    status: str
    """`ok`, or why not."""
