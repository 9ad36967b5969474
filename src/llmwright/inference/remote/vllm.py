"""The engine vLLM: started in an environment of its own, sent token ids, answering with token ids.

So tokenizer, stop strings and log-probabilities stay those of the contract; vLLM schedules, caches
and samples. It listens on this machine only, on a port and with a key that nobody else knows.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.core.events import Emit, unheard
from llmwright.core.hardware import hardware
from llmwright.core.locale import text
from llmwright.core.machine.toolchain import Toolchain, ensure
from llmwright.inference.engines.engine import SamplingEngine
from llmwright.inference.engines.exported import EXPORT_FILE
from llmwright.inference.remote.connection import Connection
from llmwright.inference.remote.process import LOOPBACK, ServerProcess, free_port
from llmwright.inference.remote.texts import COMPLETIONS, log_probs_of
from llmwright.inference.remote.writer import (
    Dialect,
    Part,
    RemoteWriter,
    Request,
    ended,
    sampling,
)
from llmwright.inference.writing.generation import TextWriter, Told
from llmwright.inference.writing.sampling import Settings
from llmwright.tasks.contract import Contract

START_SECONDS = 1200.0
PATIENCE_SECONDS = 10.0
SERVED = "model"


def _needs() -> str:
    """Return why vLLM cannot run here: its packages are built for NVIDIA's GPUs."""
    return "" if hardware().gpus else text("inference.vllm_needs")


TOOLCHAIN = Toolchain(
    "vllm",
    {"vllm": "0.33.0"},
    {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        # A model's folder is here; nothing is to be asked for elsewhere.
        "HF_HUB_OFFLINE": "1",
    },
    _needs,
)


class IdDialect(Dialect):
    """Token ids go there, token ids come back.

    Args:
        model: Name of the model there.
        context: Most tokens of prompt and text together; None where there is no limit.
        beyond: What a request says besides, for its settings.
    """

    def __init__(
        self,
        model: str,
        context: int | None,
        beyond: Callable[[Settings], dict[str, Any]] = lambda settings: {},
    ) -> None:
        self._model, self._context, self._beyond = model, context, beyond

    def request(self, prompt_T: np.ndarray, settings: Settings, place: int) -> Request:
        """Return route and body, as `Dialect.request` says."""
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": prompt_T.tolist(),
            "return_token_ids": True,
            **sampling(settings, place),
            **self._beyond(settings),
        }
        if self._context is not None:
            room = max(1, self._context - len(prompt_T))
            body["max_tokens"] = min(settings.max_new_tokens, room)
        if settings.num_scores is not None:
            body["logprobs"] = settings.num_scores
        return COMPLETIONS, body

    def read(self, event: dict[str, Any], settings: Settings) -> Part:
        """Return what an event adds, as `Dialect.read` says."""
        if not event.get("choices"):
            return [], None
        choice = event["choices"][0]
        ids = [int(token) for token in choice["token_ids"] or []]
        finish = ended(choice.get("finish_reason"))
        scores = log_probs_of(choice.get("logprobs")) or [("", None, ())] * len(ids)
        told = [
            (token, Told(None, value, top))
            for token, (_, value, top) in zip(ids, scores, strict=False)
        ]
        if finish == "stop" and ids and ids[-1] in settings.stop_token_ids:
            told.pop()
        return told, finish


def _vllm_only(settings: Settings) -> dict[str, Any]:
    """Return what vLLM has to be told so that the contract decides where a text ends."""
    return {
        "stop_token_ids": sorted(settings.stop_token_ids),
        "ignore_eos": True,
        "skip_special_tokens": False,
    }


class VllmEngine(SamplingEngine):
    """A model in a server of vLLM's.

    Args:
        folder: The model.
        process: The server.
        connection: To it.
        context: Most tokens of a text.
    """

    name: ClassVar[str] = "vllm"
    automatic: ClassVar[bool] = False
    number_format = "bf16"

    def __init__(
        self, folder: Path, process: ServerProcess, connection: Connection, context: int | None
    ) -> None:
        self.folder, self.context = folder, context
        self._process, self._connection = process, connection

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder has a whole model's weights in safetensors."""
        whole = any(folder.glob("model*.safetensors"))
        return whole and not (folder / EXPORT_FILE).is_file()

    @classmethod
    def open(cls, folder: Path, contract: Contract, emit: Emit = unheard) -> VllmEngine:
        """Return the engine with vLLM started, its environment made first where it is missing.

        Raises:
            InputError: The model does not continue texts (``INFER-056``).
            ResourceError: vLLM cannot be installed (``CORE-130``), does not run on this machine
                (``CORE-132``) or does not start (``INFER-057``).
        """
        if contract.task != "text-generation":
            raise InputError("INFER-056", engine=cls.name, task=contract.task)
        environment = ensure(TOOLCHAIN, emit)
        port, key = free_port(), secrets.token_urlsafe(32)
        address = f"http://{LOOPBACK}:{port}"
        options = {
            "--model": str(folder.resolve()),
            "--served-model-name": SERVED,
            "--host": LOOPBACK,
            "--port": str(port),
            "--dtype": "bfloat16",
            # Not the model's own defaults of sampling: every request says all.
            "--generation-config": "vllm",
        }
        words = [word for option in options.items() for word in option]
        command = [str(environment.python), "-m", "vllm.entrypoints.openai.api_server", *words]
        log = Path(tempfile.gettempdir()) / f"llmwright-vllm-{os.getpid()}-{port}.log"
        variables = {**environment.variables, "VLLM_API_KEY": key}
        process = ServerProcess("vllm", environment.python, command, variables, log)
        try:
            process.wait_ready(f"{address}/health", START_SECONDS, emit)
            connection = Connection(address, SERVED, key)
        except BaseException:
            process.close()
            raise
        context = files.read_json(folder / "config.json").get("max_position_embeddings")
        return cls(folder, process, connection, context)

    def writer(self) -> TextWriter:
        """Return what has texts written by vLLM."""
        dialect = IdDialect(self._connection.model, self.context, _vllm_only)
        gone = partial(self._process.check, PATIENCE_SECONDS)
        return RemoteWriter(self._connection, dialect, gone)

    def close(self) -> None:
        """Stop the server."""
        self._connection.close()
        self._process.close()
