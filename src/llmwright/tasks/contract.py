"""What a model promises: ``contract.json`` beside the weights of every model artifact.

It holds all that is needed to ask the model the way it was trained to be asked, so that the
checkpoint, its exports and its server preprocess, encode, decode and answer alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from llmwright.core import files
from llmwright.core.config import Config
from llmwright.core.errors import InputError
from llmwright.data.records import Numbers

CONTRACT_FILE = "contract.json"


class Generation(Config):
    """Defaults of text generation, used when a request does not say otherwise."""

    max_new_tokens: int = Field(256, ge=1)
    """Most tokens to write, the stop token not counted."""
    min_new_tokens: int = Field(0, ge=0)
    """Tokens that are written before the text may stop; 0 is off."""
    end_sentence_after: int | None = Field(None, ge=0)
    """Tokens after which the text stops with the sentence it is in, so that its length is near this
    and nothing is cut; `max_new_tokens` still holds. Off when not given."""
    temperature: float = Field(0.0, ge=0)
    """Randomness: 0 always takes the likeliest token; 1 samples as the model was trained."""
    top_k: int = Field(0, ge=0)
    """Sample among this many likeliest tokens only; 0 switches the limit off."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample among the likeliest tokens that together have this probability; 1 is off."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Sample among tokens with at least this share of the likeliest one's probability; 0 is off."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Logits of tokens of prompt and text are divided by this where positive, else multiplied:
    above 1 makes repeating unlikely; 1 is off."""
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    """Taken off the logit of each token that the text already has; 0 is off."""
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    """Taken off a token's logit once for each time the text already has it; 0 is off."""


class Embedding(Config):
    """How a text's vector is made of the vectors of its tokens."""

    pooling: Literal["mean", "cls", "last"] = "mean"
    """Which tokens count: all alike, the first, or the last."""
    normalized: bool = True
    """Whether vectors have length 1, so that their product is the cosine of the angle."""
    prompts: dict[str, str] = {}
    """Name (``query``, ``document``) → words that come before a text of that kind."""
    default_prompt: str = ""
    """Name of the prompt of texts of which nothing is said; none when empty."""


class ProbesInfo(Config):
    """Where the model's recorded inputs and outputs come from."""

    source: str
    """``validation`` (rows of the data, personal data removed), ``train``, ``file`` or
    ``generated``."""
    count: int
    """Number of probes."""


class Contract(Config):
    """Everything that turns a row into the model's input and its output into an answer."""

    version: int = 1
    """Version of this format."""
    task: str
    """Registered task, as in ``seq2seq``."""
    row_type: str
    """Canonical row type the model learned from, as in ``pair``."""
    model_type: str
    """``model_type`` of the model's ``config.json``."""
    num_parameters: int
    """Number of weights."""
    fields: dict[str, str]
    """Canonical column → the user's name, used by ``predict`` and ``/generate``."""
    preprocessing: list[dict[str, Any]] = []
    """Cleaners of the dataset that also run on every input, in order."""
    text_steps: list[dict[str, Any]] = []
    """Steps of the tokenizer that run right before it (word segmentation)."""
    labels: list[str] = []
    """Class or tag names; the position is the output's index."""
    multi_label: bool = False
    """Whether several labels may hold at once."""
    numbers: Numbers | None = None
    """Regression: mean and spread by which the model's output becomes a number in the user's unit,
    and the range it learned from."""
    threshold: float = 0.5
    """Probability from which a label of a multi-label model holds."""
    max_length: int
    """Longest input in tokens. Longer ones are cut, at the end, but a prompt to be continued at
    its start, and the answer says so."""
    max_target_length: int | None = None
    """Longest target in tokens (seq2seq)."""
    chat_template_sha256: str | None = None
    """Hash of the chat template the model was trained with; a model whose tokenizer has another one
    is not opened."""
    begins_with_bos: bool = False
    """Text generation: whether texts and prompts begin with the ``bos`` token. Not so where the
    training text was one long stream, in which that token was hardly seen."""
    controls: dict[str, list[str]] = {}
    """Styles: control (as in ``tone``) → its values, each a token before the input; without one
    the model is told ``any``."""
    embedding: Embedding | None = None
    """Text embedding: how a text's vector is made; None where a model was not made for that."""
    styles: dict[str, dict[str, str]] = {}
    """Styles of a chat model that it did not learn: control → value → what it is told as system
    message. They are asked for as those it learned."""
    mask_token: str = ""
    """Fill-mask: how a mask is written in a text."""
    token_types: bool = False
    """Whether the model tells two texts apart by ``token_type_ids``: 0 first, 1 second."""
    special_tokens: dict[str, int] = {}
    """Name (``pad``, ``bos``, ``eos``, ``unk``, ``decoder_start`` …) → token id."""
    stop_token_ids: list[int] = []
    """Tokens that end a generated text."""
    generation: Generation = Generation()
    """Defaults of generation."""
    profile: dict[str, Any] = {}
    """What the training data looked like: rows, lengths, labels, vocabulary; for drift."""
    probes: ProbesInfo | None = None
    """Where the recorded probes come from; None before they are recorded."""

    def choices(self) -> dict[str, list[str]]:
        """Return the styles that can be asked for, learned or told: control → values."""
        return {name: list(values) for name, values in self.styles.items()} | self.controls

    def save(self, folder: Path) -> None:
        """Write ``contract.json`` into a folder."""
        files.write_json(folder / CONTRACT_FILE, self.model_dump(mode="json"))

    @classmethod
    def open(cls, folder: Path) -> Contract:
        """Return the contract in a folder.

        Raises:
            InputError: There is none (``TASK-001``), or it is damaged (``TASK-014``).
        """
        path = folder / CONTRACT_FILE
        if not path.is_file():
            raise InputError("TASK-001", path=folder)
        try:
            return cls.model_validate(files.read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise InputError("TASK-014", path=path, reason=reason) from error
        except ValueError as error:
            raise InputError("TASK-014", path=path, reason=str(error)) from error
