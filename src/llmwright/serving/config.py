"""Settings of `serve`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from llmwright.core.config import Choice, Config, Input, Kind, LocalPath
from llmwright.core.registry import Registry
from llmwright.inference.remote.elsewhere import ANYWHERE
from llmwright.knowledge.config import KnowledgeConfig

Action = Literal["block", "mask", "flag"]

# `build(root, find)` returns a `guarding.Guard`: `root` is the folder relative files start from,
# `find` returns the folder of a model by its reference.
GUARDS: Registry[type[GuardKind]] = Registry(
    "guard",
    {
        "words": "llmwright.serving.config:WordsGuard",
        "classifier": "llmwright.serving.config:ClassifierGuard",
    },
)


class GuardKind(Kind):
    """Something that looks at prompts and replies."""

    name: str = Field("", pattern=r"^[\w.-]{0,40}$")
    """What headers, metrics and logs call it; its kind when empty."""
    looks_at: Literal["prompt", "reply", "both"] = "both"
    """What it looks at. A reply that streams is held back until it has been looked at."""
    action: Action = "block"
    """What happens to what it finds: `block` refuses the prompt (400) or ends the reply
    (`content_filter`), `mask` puts `*` in place of each character, `flag` only says so."""


class WordsGuard(GuardKind):
    """Finds words of a list, whatever their case, width or place in a stream."""

    implementation = "llmwright.serving.guards.words:Words"

    kind: Literal["words"] = "words"
    """A list of words."""
    words: list[str] = []
    """Words and phrases. Those of scripts with spaces are found as whole words only, Chinese,
    Japanese, Korean and Thai ones anywhere."""
    file: Path | None = None
    """UTF-8 file with one more word or phrase per line; lines that begin with `#` are comments."""


class ClassifierGuard(GuardKind):
    """Asks a classifier about windows of the text."""

    implementation = "llmwright.serving.guards.classifier:Classifier"

    kind: Literal["classifier"] = "classifier"
    """A model."""
    model: str
    """Model or export that tells labels of texts: folder or id."""
    labels: list[str] = Field(min_length=1)
    """Labels that are not let pass."""
    threshold: float = Field(0.5, gt=0, le=1)
    """From which probability of any of these labels on."""
    window_characters: int = Field(400, ge=16)
    """How much text it judges at once. A stream is shown half a window at a time, each together
    with the half before it."""


class ServeConfig(Config):
    """Answer HTTP requests with a model or an export until stopped."""

    model: Annotated[str | None, Input("model|export", True, elsewhere=ANYWHERE)] = None
    """Model or export that answers: id, step name, folder, or the address of another server, which
    makes this one its gateway; the newest of the project when not given."""
    knowledge: Annotated[KnowledgeConfig | None, LocalPath()] = None
    """Folder of documents that questions are answered from, as a path or with settings
    (`{folder: docs, encoder: NAME}`). A model that converses answers from them and cites them;
    without a model the server returns their passages."""
    engine: str = "auto"
    """What runs the model: `torch`, `onnx`, `llamacpp`, `vllm`, or `auto`, which takes the one the
    files are made for."""
    allow_pickle: bool = False
    """Read weights in pickle format (`pytorch_model.bin`) too, tensors only. Reading a pickle could
    run code before torch refused to; safetensors cannot, so allow it only for files you trust."""
    name: str | None = None
    """Name of the model for clients, as in `{"model": NAME}`; the project folder's name when not
    given, so that it survives a new training."""
    models: Annotated[dict[str, str], Input("model|export", elsewhere=ANYWHERE)] = {}
    """More models by their names for clients: `{NAME: id, step name or folder}`. Each is loaded
    when it is first asked for. Without `model`, the first of them answers requests that name
    none."""
    max_adapters: int = Field(16, ge=0)
    """LoRA adapters that may be loaded over one model while the server runs, with a key of scope
    `admin`; 0 allows none."""
    max_memory_bytes: int | None = Field(None, ge=1)
    """Memory that all loaded models may take together, in bytes. To load another one, those that
    were not used for longest are unloaded, never one at work. Without it all stay loaded."""
    keep_alive_seconds: float | None = Field(None, gt=0)
    """Seconds without a request after which a model is unloaded, until it is asked for again.
    Without it models stay loaded, so that nobody waits."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is reached from this machine only; any other address
    needs an API key. `0.0.0.0` listens on all."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and says which."""
    api_key: SecretStr | None = None
    """Key that requests must carry as `Authorization: Bearer KEY`. Other users of the machine can
    see command lines: prefer the variable `LLMWRIGHT_SERVE__API_KEY` or `api_key_file`."""
    api_key_file: Path | None = None
    """File of API keys, read again when it changes: one made by `llmwright keys create`, with
    hashes, scopes and limits; or plain text with one key per line, where `#` at the start of a line
    or behind a space begins a comment. Plain keys open all but administration."""
    max_concurrency: int = Field(4, ge=1)
    """Texts that are written at the same time, token by token in turn. More let nobody wait but
    make each slower."""
    max_queue: int = Field(64, ge=0)
    """Requests that may wait beyond those being worked on; further ones get 503 with
    `Retry-After`."""
    max_batch: int = Field(32, ge=1)
    """Waiting rows to classify that go through the model together. Nobody waits for a batch to
    fill: what is there is taken."""
    max_rows: int = Field(256, ge=1)
    """Most texts in one request."""
    request_timeout_seconds: float = Field(120.0, gt=0)
    """Longest time from a request's arrival to the end of its answer, in seconds; then 504."""
    client_timeout_seconds: float = Field(30.0, gt=0)
    """Longest time a client may take to send the header of a request, and again its body, in
    seconds (then 408), and how long it may leave an answer unread before it is cut off."""
    hang_seconds: float = Field(60.0, gt=0)
    """Time after which a step of the engine (reading prompts, one token of each text, one batch)
    counts as hung, in seconds: the engine is started again. Must be more than the longest prompt
    takes to be read on this machine."""
    max_restarts: int = Field(3, ge=0)
    """How often in a row an engine that hangs or dies is started again before its model stays
    failed; ten minutes without trouble count as a new row."""
    max_body_bytes: int = Field(1_000_000, ge=1)
    """Largest request body, in bytes; larger ones get 413."""
    max_new_tokens: int = Field(4096, ge=1)
    """Most tokens one request may ask for."""
    styles: dict[str, dict[str, str]] = {}
    """Styles of chat models, asked for as `controls`: control → value → what the model is told as
    system message, as `{tone: {formal: Answer formally.}}`. They join those of the model."""
    guards: list[Annotated[GuardKind, Choice(GUARDS)]] = []
    """What looks at prompts and replies before they pass, in this order: lists of words and
    classifiers. One that cannot look lets nothing pass."""
    cache_bytes: int = Field(0, ge=0)
    """How much memory kept answers may take, in bytes; 0 keeps none. Kept are labels, and texts at
    temperature 0 or with a seed."""
    cache_shared: bool = False
    """Whether a key may get an answer that another key asked for. How quick it comes tells that
    somebody asked the same."""
    drain_seconds: float = Field(30.0, ge=0)
    """How long a stopping server lets running requests finish, in seconds."""
    num_probes: int = Field(4, ge=0)
    """Recorded probes of the model that must be answered as recorded before the first request; the
    others are run in idle moments. 0 skips the check and `/v1/models` says so."""
    strict_probes: bool = False
    """Whether a model that answers one of the later probes otherwise is taken out of service.
    Without it that is logged, counted and shown in `/v1/models`."""
    access_log: bool = True
    """Whether each request is a line of JSON on standard error: time, route, status, duration,
    tokens; never any content."""
    otlp_endpoint: str | None = Field(None, pattern=r"^https?://")
    """Address that a trace of each request is sent to, as in `http://localhost:4318/v1/traces`
    (OpenTelemetry, OTLP over HTTP); never any content. Needs `llmwright[telemetry]`."""
    ready_file: Path | None = None
    """File that is written with address, port and process id once the server answers."""

    def takes_newest(self, field: str) -> bool:
        """Say whether the newest model is served: not where others are named.

        The newest is no encoder of documents unless it is named.
        """
        return field == "model" and not self.models

    def is_loopback(self) -> bool:
        """Say whether only this machine can reach the address."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Say whether a name or an address stands for this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
