"""A model's own proof: recorded inputs and outputs that travel with it.

Right after training, in eval mode and float32, some inputs are run and what comes out is kept: all
logits of classifiers and taggers; the vectors of texts; of generators the 32 likeliest tokens of
every position of the greedy continuation. Whoever claims to be this model, be it merged, exported
or served, can be asked the same again (see `parity`).

Shapes: N probes, L labels, T tokens of all probes in a row, U written tokens likewise, K kept.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.inference.engines.asking import logits_of
from llmwright.inference.engines.engine import Engine
from llmwright.inference.proof.redact import is_personal, redact_value
from llmwright.inference.writing.sampling import log_softmax
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract, ProbesInfo
from llmwright.tasks.reading import cleaned
from llmwright.tasks.task import TASKS, Example, Output

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROBES_FILE = "probes.json"
TENSORS_FILE = "probes.safetensors"
VERSION = 1
NUM_KEPT = 32
MAX_WRITTEN = 32
MAX_PROMPT_CHARACTERS = 200
MIN_PROBES = 4
MAX_SECONDS = 60.0
CHUNK = 8
BORDER = re.compile(r"[\s\u0080-\U0010ffff]")
# Rows that are redacted and compared for each probe wanted.
CANDIDATES_PER_PROBE = 16


@dataclass
class Probe:
    """One input and what came out.

    Attributes:
        row: The input, as `predict` takes it.
        input_ids_T: What the model reads.
        token_type_ids_T: Which of two texts each token belongs to; None without a second text.
        answer: What `predict` answers; of a generator greedily, at most 32 tokens.
        logits: All logits: (L,) or (T, L), or a text's vector (D,); None for generators.
        token_ids_U: The greedy continuation, its stop token included.
        top_ids_UK: The likeliest tokens of each position, the likeliest first.
        top_log_probs_UK: Their natural log-probabilities.
    """

    row: Row
    input_ids_T: np.ndarray
    token_type_ids_T: np.ndarray | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    logits: np.ndarray | None = None
    token_ids_U: np.ndarray | None = None
    top_ids_UK: np.ndarray | None = None
    top_log_probs_UK: np.ndarray | None = None

    @property
    def example(self) -> Example:
        """What the model reads, as `Task.collate` takes it."""
        return Example(self.input_ids_T, token_type_ids_T=self.token_type_ids_T)


@dataclass
class Probes:
    """All probes of a model, and the facts that must not change either.

    Attributes:
        probes: The probes.
        identity: What of the contract decides inputs and answers: labels, template, stop tokens …
        source: Where the inputs come from.
    """

    probes: list[Probe]
    identity: dict[str, Any]
    source: str

    def save(self, folder: Path) -> None:
        """Write ``probes.json`` and ``probes.safetensors``."""
        from safetensors.numpy import save_file

        body = {
            "version": VERSION,
            "source": self.source,
            "identity": self.identity,
            "probes": [{"row": p.row, "answer": p.answer} for p in self.probes],
        }
        tensors = {}
        for index, probe in enumerate(self.probes):
            for name in _TENSORS:
                value = getattr(probe, name)
                if value is not None:
                    tensors[f"{index}.{name}"] = np.ascontiguousarray(value)
        save_file(tensors, folder / TENSORS_FILE)
        files.write_json(folder / PROBES_FILE, body)

    @classmethod
    def open(cls, folder: Path) -> Probes:
        """Return the probes in a folder.

        Raises:
            InputError: There are none (``INFER-010``), or they are damaged (``INFER-011``).
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not (folder / PROBES_FILE).is_file() or not (folder / TENSORS_FILE).is_file():
            raise InputError("INFER-010", path=folder)
        try:
            body = files.read_json(folder / PROBES_FILE)
            tensors = load_file(folder / TENSORS_FILE)
            probes = [
                _probe(values, {name: tensors.get(f"{index}.{name}") for name in _TENSORS})
                for index, values in enumerate(body["probes"])
            ]
            return cls(probes, body["identity"], body["source"])
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise InputError("INFER-011", path=folder, reason=reason) from error


_TENSORS = (
    "input_ids_T",
    "token_type_ids_T",
    "logits",
    "token_ids_U",
    "top_ids_UK",
    "top_log_probs_UK",
)


def _probe(values: dict[str, Any], tensors: dict[str, Any]) -> Probe:
    if tensors["input_ids_T"] is None:
        raise KeyError("input_ids_T")
    return Probe(row=values["row"], answer=values["answer"], **tensors)


def identity_of(contract: Contract, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return the facts that decide what the model reads and what its output means."""
    vectors = {"embedding": contract.embedding.model_dump()} if contract.embedding else {}
    return vectors | {
        "task": contract.task,
        "row_type": contract.row_type,
        "labels": list(contract.labels),
        "multi_label": contract.multi_label,
        "numbers": None if contract.numbers is None else contract.numbers.model_dump(),
        "threshold": contract.threshold,
        "stop_token_ids": sorted(contract.stop_token_ids),
        "special_tokens": dict(contract.special_tokens),
        "chat_template_sha256": chat.known_sha256(tokenizer),
        "preprocessing": contract.preprocessing,
        "text_steps": contract.text_steps,
        "mask_token": contract.mask_token,
        "controls": contract.controls,
        "token_types": contract.token_types,
    }


def probe_rows(rows: Sequence[Row], contract: Contract, count: int) -> list[Row]:
    """Return inputs from all over a dataset, redacted, each only once.

    Of a plain text, which the model then continues, a piece is taken; of few long ones, several.
    """
    candidates = evenly(rows, count * CANDIDATES_PER_PROBE)
    if contract.row_type == "text":
        num_pieces = -(-count * CANDIDATES_PER_PROBE // max(1, len(candidates)))
        candidates = [
            piece
            for row in candidates
            for piece in ([row] if _has_mask(row, contract) else _pieces(row, num_pieces))
        ]
    found = {repr(kept): kept for row in candidates if (kept := _input_of(row, contract))}
    return evenly(list(found.values()), count)


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """Return ``count`` items from first to last, equally far apart; all where there are fewer."""
    if len(items) <= count:
        return list(items)
    places = np.linspace(0, len(items) - 1, count).round().astype(int)
    return [items[place] for place in places.tolist()]


def _pieces(row: Row, count: int) -> list[Row]:
    """Return pieces of a text from its beginning on, with room for what is redacted.

    None begins inside a word, a number or an address: its rest could not be recognised.
    """
    text = row["text"]
    starts = range(0, max(1, len(text) - MAX_PROMPT_CHARACTERS + 1), MAX_PROMPT_CHARACTERS)
    pieces = []
    for start in evenly(starts, count):
        piece = text[start : start + 3 * MAX_PROMPT_CHARACTERS]
        if start and text[start - 1].isascii():
            # Up to the next space or Chinese character; a piece without any is left out.
            border = BORDER.search(piece, 0, MAX_PROMPT_CHARACTERS)
            piece = piece[border.end() :] if border else ""
        pieces.append({"text": piece[: 2 * MAX_PROMPT_CHARACTERS]})
    return pieces


def _input_of(row: Row, contract: Contract) -> Row | None:
    """Return what of a row may travel; None where it is empty or cannot be redacted."""
    if contract.row_type == "tags" and is_personal(row["tokens"]):
        return None
    task = TASKS.get(contract.task)()
    asked = task.input_of(row, contract)
    kept = {name: redact_value(value) for name, value in asked.items()}
    if styles := {name: value for name, value in (row.get("controls") or {}).items() if value}:
        kept["controls"] = styles
    if contract.row_type == "text":
        # What is asked is what stands behind the mask: it is not cut away.
        start = kept["text"].find(contract.mask_token) if _has_mask(kept, contract) else 0
        start = max(0, start - MAX_PROMPT_CHARACTERS // 2)
        kept["text"] = kept["text"][start : start + MAX_PROMPT_CHARACTERS]
    # Cutting and redacting change a text: what is recorded is what a server makes of it again.
    kept = cleaned(kept, contract)
    stays = cleaned(kept, contract) == kept
    return task.posed(kept, contract) if kept and stays and all(kept.values()) else None


def _has_mask(row: Row, contract: Contract) -> bool:
    return bool(contract.mask_token) and contract.mask_token in row["text"]


def record_probes(
    folder: Path,
    rows: Sequence[Row],
    contract: Contract,
    source: str,
    count: int = 32,
    engine: Engine | None = None,
) -> Contract:
    """Record probes of a saved model, in its folder, and return the contract that says so.

    Args:
        folder: Model folder with weights and tokenizer; gets the two probe files and a new
            ``contract.json``.
        rows: Canonical rows to take inputs from.
        contract: The model's contract.
        source: Where the rows come from: ``validation``, ``train``, ``file`` or ``generated``.
        count: Probes wanted, 4 to 64; fewer after 60 seconds, but at least 4.
        engine: Runs the saved model; opened here, from the files, when not given.

    Raises:
        InputError: The rows have no input to use (``INFER-012``).
    """
    from llmwright.inference.engines.opening import open_engine, open_tokenizer

    tokenizer = open_tokenizer(folder)
    engine = engine or open_engine(folder, contract, "torch")
    chosen = probe_rows(rows, contract, count)
    if not chosen:
        raise InputError("INFER-012", path=folder)
    probes = recorded(chosen, tokenizer, contract, engine, source)
    probes.save(folder)
    info = ProbesInfo(source=source, count=len(probes.probes))
    updated = contract.model_copy(update={"probes": info})
    updated.save(folder)
    return updated


def recorded(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    engine: Engine,
    source: str,
) -> Probes:
    """Return the probes of inputs that `probe_rows` chose; fewer after 60 seconds."""
    probes: list[Probe] = []
    for done in run_bounded(rows, lambda part: record(part, tokenizer, contract, engine)):
        probes += done
    return Probes(probes, identity_of(contract, tokenizer), source)


def run_bounded(
    items: Sequence[Any], run: Any, max_seconds: float = MAX_SECONDS, size: int | None = None
) -> Iterator[Any]:
    """Yield ``run(part)`` of consecutive parts; no part begins after the time once 4 were done."""
    started = time.monotonic()
    place = 0
    while place < len(items):
        if place >= MIN_PROBES and time.monotonic() - started > max_seconds:
            return
        end = place + (size or (CHUNK if place else MIN_PROBES))
        yield run(items[place:end])
        place = end


def record(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast, contract: Contract, engine: Engine
) -> list[Probe]:
    """Return the probes of some inputs."""
    task = TASKS.get(contract.task)()
    examples = [task.encode_input(row, tokenizer, contract) for row in rows]
    probes = [
        Probe(row, example.input_ids_T, example.token_type_ids_T)
        for row, example in zip(rows, examples, strict=True)
    ]
    if task.generates:
        _record_texts(probes, engine, contract)
    else:
        logits = logits_of([p.example for p in probes], engine, task, contract)
        for probe, found in zip(probes, logits, strict=True):
            probe.logits = found
    for probe in probes:
        probe.answer = task.answer(output_of(probe, contract), probe.row, tokenizer, contract)
    return probes


def output_of(probe: Probe, contract: Contract) -> Output:
    """Return a probe's outcome in the form that `Task.answer` takes."""
    if probe.token_ids_U is None:
        return Output(logits=probe.logits)
    ids = [int(i) for i in probe.token_ids_U]
    stopped = bool(ids) and ids[-1] in contract.stop_token_ids
    return Output(
        token_ids=ids[:-1] if stopped else ids, finish_reason="stop" if stopped else "length"
    )


def _record_texts(probes: Sequence[Probe], engine: Engine, contract: Contract) -> None:
    """Write greedily and keep the likeliest tokens of every position."""
    stops = set(contract.stop_token_ids)
    limit = min(MAX_WRITTEN, contract.generation.max_new_tokens)
    written: list[list[int]] = [[] for _ in probes]
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in probes]

    def choose(row: int, log_probs_V: np.ndarray) -> int | None:
        top_ids_K, top_K = likeliest(log_probs_V, NUM_KEPT)
        kept[row].append((top_ids_K, top_K))
        written[row].append(int(top_ids_K[0]))
        done = len(written[row]) >= limit or written[row][-1] in stops
        return None if done else written[row][-1]

    walk(engine, [p.input_ids_T for p in probes], choose)
    for probe, ids, places in zip(probes, written, kept, strict=True):
        probe.token_ids_U = np.array(ids, dtype=np.int64)
        probe.top_ids_UK = np.stack([top for top, _ in places]).astype(np.int32)
        probe.top_log_probs_UK = np.stack([chances for _, chances in places]).astype(np.float32)


def walk(
    engine: Engine,
    prompts: Sequence[np.ndarray],
    choose: Callable[[int, np.ndarray], int | None],
    adapter: str | None = None,
) -> None:
    """Write texts together, each token chosen by the caller.

    Args:
        engine: Runs the model.
        prompts: Token ids of each prompt.
        choose: Takes a row and the log-probabilities (V,) of its next token and returns the token,
            or None to end the row.
        adapter: The engine's adapter that writes; the model alone if None.
    """
    state = engine.begin(prompts, adapters=[adapter] * len(prompts) if adapter else None)
    # What the last texts hold in the engine is given back: the next ones need the room.
    with contextlib.closing(state):
        rows = list(range(len(prompts)))
        while True:
            log_probs_RV = log_softmax(state.logits_BV)
            chosen = [choose(row, log_probs_RV[place]) for place, row in enumerate(rows)]
            places = [p for p, token in enumerate(chosen) if token is not None]
            going = [p for p in places if state.room_B[p] > 0]
            if not going:
                return
            if len(going) < len(rows):
                state.keep(np.array(going))
                rows = [rows[p] for p in going]
            state.advance(np.array([chosen[p] for p in going], dtype=np.int64))


def likeliest(log_probs_V: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` likeliest tokens, ties by smaller id, and their values."""
    order_K = np.argsort(-log_probs_V, kind="stable")[:count]
    return order_K, log_probs_V[order_K]
