"""The engine of an address: any server that speaks OpenAI's protocol, as a model among others.

An address becomes a folder like an export's: a contract, a tokenizer of bytes, and where the server
is. So whatever asks a model can ask a server, and serve it on.

Shapes: B rows, T tokens, L labels.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np

from llmwright.core import files
from llmwright.core.artifacts import Store
from llmwright.core.errors import InputError
from llmwright.core.events import Emit, unheard
from llmwright.core.project import STORE_NAME
from llmwright.inference.engines.engine import AdapterNames, SamplingEngine
from llmwright.inference.engines.exported import EXPORT_FILE, is_export, read_export
from llmwright.inference.remote.connection import Connection
from llmwright.inference.remote.texts import (
    CHAT,
    COMPLETIONS,
    TextDialect,
    byte_tokenizer,
    text_of,
)
from llmwright.inference.remote.writer import RemoteWriter
from llmwright.inference.writing.generation import TextWriter
from llmwright.tasks.chat import known_sha256
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Batch

API_KEY = "LLMWRIGHT_API_KEY"
# Longest prompt in bytes; the server knows its own limit.
MAX_BYTES = 1 << 22
# What OpenAI's protocol has no field for, but servers of ours and vLLM's have.
BEYOND_OPENAI = frozenset({"top_k", "min_p", "repetition_penalty", "min_new_tokens", "grammar"})
# Ids of tokens mean something in the server's tokenizer only.
UNKNOWN_IDS = frozenset({"logit_bias"})
KNOWN_OWNERS = ("llmwright", "vllm")
SMALLEST = 1e-12


class EndpointEngine(SamplingEngine):
    """Asks a server.

    Args:
        folder: What was made of its address.
        contract: Of the model there, as far as it is known.
        connection: To the server.
        route: Where texts are asked for.
    """

    name: ClassVar[str] = "endpoint"
    number_format = "url"

    def __init__(
        self, folder: Path, contract: Contract, connection: Connection, route: str
    ) -> None:
        self.folder, self.contract = folder, contract
        self._connection, self._route = connection, route
        self.called = connection.model
        wide = connection.card.get("owned_by") in KNOWN_OWNERS
        self.lacks = UNKNOWN_IDS if wide else UNKNOWN_IDS | BEYOND_OPENAI

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder was made of an address."""
        return is_export(folder, "endpoint")

    @classmethod
    def open(cls, folder: Path, contract: Contract, emit: Emit = unheard) -> EndpointEngine:
        """Return the engine connected; the key comes from ``LLMWRIGHT_API_KEY``.

        Raises:
            InputError: As `Connection`.
        """
        info = read_export(folder)
        key = os.environ.get(API_KEY)
        connection = Connection(str(info["address"]), str(info["model"]), key)
        return cls(folder, contract, connection, str(info["route"]))

    def writer(self) -> TextWriter:
        """Return what has texts written by the server."""
        dialect = TextDialect(self._connection.model, self._route)
        return RemoteWriter(self._connection, dialect)

    def logits(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return the logarithms of a classifier's scores, (B, L): its answers follow from them.

        Raises:
            InputError: The model writes (``INFER-053``), or as `Connection`.
        """
        if self.contract.task != "text-classification":
            return super().logits(batch, adapters)
        route = "/v1/classify"
        body: dict[str, Any] = {"model": self._connection.model, "input": []}
        types_BT = batch.get("token_type_ids", np.zeros_like(batch["input_ids"]))
        for ids_T, mask_T, types_T in zip(
            batch["input_ids"], batch["attention_mask"], types_BT, strict=True
        ):
            ids_T, types_T = ids_T[mask_T > 0], types_T[mask_T > 0]
            body["input"].append(text_of(ids_T[types_T == 0]))
            if self.contract.token_types:
                body.setdefault("input_pair", []).append(text_of(ids_T[types_T == 1]))
        reply = self._connection.fetch("POST", route, body)
        try:
            scores = [entry["scores"] for entry in reply["data"]]
            chances_BL = np.array(
                [[float(each[name]) for name in self.contract.labels] for each in scores]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._connection.strange(route, reply) from error
        chances_BL = np.clip(chances_BL, SMALLEST, 1 - SMALLEST)
        if self.contract.multi_label:
            chances_BL = chances_BL / (1 - chances_BL)
        found: np.ndarray = np.log(chances_BL).astype(np.float32)
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def folder_of_address(address: str, root: Path) -> Path:
    """Return a folder for a server, kept in the project's store as an export.

    Args:
        address: ``http://host:8000``, with the model's name behind ``#`` where there are several. A
            path of ``/v1/completions`` asks for texts to be continued instead of conversations.
        root: The project's folder.

    Raises:
        InputError: As `Connection`, or the model there does what cannot be asked for over an
            address (``INFER-054``).
    """
    parts = urlsplit(address)
    route = next((r for r in (CHAT, COMPLETIONS) if parts.path.rstrip("/").endswith(r)), "")
    path = parts.path.rstrip("/").removesuffix(route)
    base = f"{parts.scheme}://{parts.netloc}{path}"
    key = os.environ.get(API_KEY)
    connection = Connection(base, unquote(parts.fragment) or None, key)
    try:
        card, ours = connection.card, connection.is_ours
        chats = CHAT in card.get("routes", []) if ours else route != COMPLETIONS
        tokenizer = byte_tokenizer()
        contract = _contract(card, chats, known_sha256(tokenizer), address)
        info = {
            "format": "endpoint",
            "number_format": EndpointEngine.number_format,
            "address": connection.address,
            "model": connection.model,
            "route": route or (CHAT if chats else COMPLETIONS),
            # What stands there may change without a word: only a server of ours says which it is.
            "asked": card.get("artifact") if ours else time.time(),
        }
    finally:
        connection.close()
    with Store(root / STORE_NAME).draft("export") as draft:
        tokenizer.save_pretrained(draft.path)
        contract.save(draft.path)
        files.write_json(draft.path / EXPORT_FILE, info)
    assert draft.artifact is not None
    return draft.artifact.path


def _contract(
    card: dict[str, Any], chats: bool, template_sha256: str | None, address: str
) -> Contract:
    """Return what is known of a model by its card."""
    task = str(card.get("task", "text-generation"))
    names = card.get("fields", {"input": [], "output": []})
    fields: dict[str, str] = {}
    row_type = "messages" if chats else "text"
    if task == "text-classification":
        row_type = "classification"
        fields = dict(zip(("text", "text_pair"), names["input"], strict=False))
    elif task == "seq2seq":
        row_type = "pair"
        fields = {"input": names["input"][0], "target": names["output"][0]}
    elif task != "text-generation":
        raise InputError("INFER-054", url=address, task=task)
    return Contract(
        task=task,
        row_type=row_type,
        model_type="endpoint",
        num_parameters=int(card.get("num_parameters") or 0),
        fields=fields,
        labels=list(card.get("labels") or []),
        multi_label=bool(card.get("multi_label")),
        token_types="text_pair" in fields,
        # What fills shorter rows up is masked.
        special_tokens={"pad": 0},
        max_length=MAX_BYTES,
        max_target_length=MAX_BYTES if task == "seq2seq" else None,
        chat_template_sha256=template_sha256,
    )
