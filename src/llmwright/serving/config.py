"""Settings of `serve`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from llmwright.core.config import Config, Input
from llmwright.models.published import PUBLISHED


class ServeConfig(Config):
    """Answer HTTP requests with a model or an export until stopped."""

    model: Annotated[str | None, Input("model|export", elsewhere=PUBLISHED)] = None
    """Model or export that answers: id, step name or folder; the newest of the project when not
    given."""
    engine: str = "auto"
    """What runs the model: `auto` takes the one the files are made for."""
    name: str | None = None
    """Name of the model for clients, as in `{"model": NAME}`; the project folder's name when not
    given, so that it survives a new training."""
    models: Annotated[dict[str, str], Input("model|export", elsewhere=PUBLISHED)] = {}
    """More models by their names for clients: `{NAME: id, step name or folder}`. Each is loaded
    when it is first asked for. Without `model`, the first of them answers requests that name
    none."""
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
    ready_file: Path | None = None
    """File that is written with address, port and process id once the server answers."""

    def takes_newest(self, field: str) -> bool:
        """Say whether the newest model is served: not where others are named."""
        return not self.models

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
