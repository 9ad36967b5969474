"""A contract for a model that others published: what its own files say of it.

Nothing is written into the folder. Such a model has no probes, so nothing of it can be verified.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.core.locale import text
from llmwright.models.published import name_of
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract, Embedding, Generation
from llmwright.tasks.make_contract import SPECIAL
from llmwright.tasks.published.encoder import Encoder, encoder_of
from llmwright.tokenization.steps import steps_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# End of an architecture's name → task, the first that fits.
ENDINGS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "fill-mask",
    "ForPreTraining": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForConditionalGeneration": "seq2seq",
    "MTModel": "seq2seq",
    "Model": "text-embedding",
}
ROW_TYPES = {
    "text-classification": "classification",
    "text-regression": "regression",
    "token-classification": "tags",
    "seq2seq": "pair",
}
FIELDS = {
    "classification": {"text": "text", "label": "label"},
    "regression": {"text": "text", "value": "score"},
    "tags": {"tokens": "tokens", "tags": "tags"},
    "pair": {"input": "input", "target": "target"},
    "messages": {"messages": "messages"},
    "text": {"text": "text"},
}
# Labels of models that compare two texts.
COMPARING = ("entailment", "contradiction", "not_entailment")
# Families whose positions begin behind the padding token's number.
SHIFTED = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
# Longest input where the files do not say.
DEFAULT_LENGTH = 512
MAX_NEW_TOKENS = 256
# Above it a tokenizer's limit means "none".
NO_LIMIT = 1_000_000


@dataclass
class Published:
    """What lies in the folder of a published model.

    Attributes:
        folder: The folder.
        config: ``config.json``.
        generation: ``generation_config.json``; empty without it.
        encoder: What makes it a sentence encoder; None where it is none.
        notes: What a user should know of how it was read.
    """

    folder: Path
    config: dict[str, Any]
    generation: dict[str, Any]
    encoder: Encoder | None
    notes: list[str] = field(default_factory=list)


def derive_contract(folder: Path, tokenizer: PreTrainedTokenizerFast) -> tuple[Contract, list[str]]:
    """Return the contract that a published model's files amount to, and sentences about it.

    Args:
        folder: With ``config.json``; a folder of sentence-transformers, too.
        tokenizer: The folder's.

    Raises:
        InputError: A file is damaged (``TASK-041``), the files do not tell what the model is for
            (``TASK-042``), or a sentence encoder has a step that is not known (``TASK-043``).
    """
    config, generation = read(folder / "config.json"), read(folder / "generation_config.json")
    found = Published(folder, config, generation, encoder_of(folder))
    task = task_of(found)
    chats = task == "text-generation" and chat.known_sha256(tokenizer) is not None
    row_type = "messages" if chats else ROW_TYPES.get(task, "text")
    labels = _labels(config) if row_type in ("classification", "tags") else []
    fields = dict(FIELDS[row_type])
    if row_type == "regression" or any(label.lower() in COMPARING for label in labels):
        fields["text_pair"] = "text_pair"
    generates = task in ("text-generation", "seq2seq")
    length = _max_length(found, tokenizer)
    contract = Contract(
        task=task,
        row_type=row_type,
        model_type=str(config.get("model_type", "")),
        num_parameters=count_parameters(folder),
        fields=fields,
        text_steps=steps_of(tokenizer),
        labels=labels,
        multi_label=config.get("problem_type") == "multi_label_classification",
        max_length=length,
        chat_template_sha256=chat.known_sha256(tokenizer) if chats else None,
        begins_with_bos=task == "text-generation" and not chats and _frames_with_bos(tokenizer),
        embedding=_embedding(found, task),
        mask_token=str(tokenizer.mask_token) if task == "fill-mask" else "",
        token_types="text_pair" in fields and config.get("type_vocab_size", 0) > 1,
        special_tokens=_special_tokens(found, tokenizer, task),
        stop_token_ids=_stop_token_ids(found, tokenizer) if generates else [],
        generation=_generation(found, length) if generates else Generation(),
        profile={"vocabulary_size": config.get("vocab_size", len(tokenizer))},
    )
    said = text("tasks.derived", name=name_of(folder), task=task, max_length=length)
    return contract, [said, *found.notes]


def read(path: Path) -> dict[str, Any]:
    """Return a JSON file; empty where there is none.

    Raises:
        InputError: It is damaged (``TASK-041``).
    """
    if not path.is_file():
        return {}
    try:
        return dict(files.read_json(path))
    except (ValueError, TypeError) as error:
        raise InputError("TASK-041", path=path, reason=str(error)) from error


def task_of(found: Published) -> str:
    """Return what a published model is for.

    Raises:
        InputError: Its files do not tell (``TASK-042``).
    """
    if found.encoder is not None:
        return "text-embedding"
    names = [str(name) for name in found.config.get("architectures") or []]
    for name in names:
        task = next((task for end, task in ENDINGS.items() if name.endswith(end)), None)
        if task == "seq2seq" and not found.config.get("is_encoder_decoder"):
            continue
        if task == "text-classification" and _num_labels(found.config) == 1:
            return "text-regression"
        if task is not None:
            return task
    known = ", ".join(f"…{ending}" for ending in ENDINGS)
    raise InputError("TASK-042", path=found.folder, found=", ".join(names) or "-", known=known)


def _num_labels(config: dict[str, Any]) -> int:
    return len(config.get("id2label") or {}) or int(config.get("num_labels", 2))


def _labels(config: dict[str, Any]) -> list[str]:
    named = config.get("id2label") or {}
    return [str(named.get(str(i), f"LABEL_{i}")) for i in range(_num_labels(config))]


def _embedding(found: Published, task: str) -> Embedding | None:
    if task != "text-embedding":
        return None
    if found.encoder is not None:
        return found.encoder.embedding
    found.notes.append(text("tasks.pooling_assumed", name=name_of(found.folder)))
    return Embedding()


def _max_length(found: Published, tokenizer: PreTrainedTokenizerFast) -> int:
    config = found.config
    limits = [
        int(config[name])
        for name in ("max_position_embeddings", "n_positions", "n_ctx", "seq_length")
        if isinstance(config.get(name), int)
    ]
    if config.get("model_type") in SHIFTED:
        limits = [limit - int(config.get("pad_token_id", 1)) - 1 for limit in limits]
    if found.encoder is not None and found.encoder.max_length:
        limits.append(found.encoder.max_length)
    own = tokenizer.model_max_length
    if own is not None and own < NO_LIMIT:
        limits.append(int(own))
    return min((limit for limit in limits if limit > 1), default=DEFAULT_LENGTH)


def _frames_with_bos(tokenizer: PreTrainedTokenizerFast) -> bool:
    begin = tokenizer.bos_token_id
    return begin is not None and tokenizer("a")["input_ids"][:1] == [begin]


def _special_tokens(
    found: Published, tokenizer: PreTrainedTokenizerFast, task: str
) -> dict[str, int]:
    """Return the ids of the tokenizer, and of the config what only that knows."""
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in SPECIAL}
    size = int(found.config.get("vocab_size") or len(tokenizer))
    if ids["pad"] is None or ids["pad"] >= size:
        # Padding is masked: any token the model knows will do.
        known = found.generation.get("pad_token_id"), found.config.get("pad_token_id"), ids["eos"]
        ids["pad"] = next((i for i in known if isinstance(i, int) and 0 <= i < size), 0)
    if task == "seq2seq":
        start = _first(found, "decoder_start_token_id")
        if start is None:
            path, name = found.folder / "config.json", "decoder_start_token_id"
            raise InputError("TASK-041", path=path, reason=text("tasks.not_there", name=name))
        ids["decoder_start"] = start
        if _first(found, "forced_bos_token_id") is not None:
            found.notes.append(text("tasks.forced_bos", name=name_of(found.folder)))
    return {name: int(index) for name, index in ids.items() if index is not None}


def _first(found: Published, name: str) -> Any:
    """Return a value of the generation's settings, else of the model's."""
    value = found.generation.get(name)
    return found.config.get(name) if value is None else value


def _stop_token_ids(found: Published, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    named = found.generation.get("eos_token_id"), found.config.get("eos_token_id")
    stops = {tokenizer.eos_token_id} - {None}
    for value in named:
        stops |= set(value) if isinstance(value, list) else {value} - {None}
    return sorted(int(index) for index in stops)


def _generation(found: Published, max_length: int) -> Generation:
    """Return how the model's publishers let it write; greedily where they do not sample."""
    given = found.generation
    values: dict[str, Any] = {}
    if given.get("do_sample"):
        values = {"temperature": given.get("temperature", 1.0)}
        values |= {n: given[n] for n in ("top_k", "top_p", "min_p") if given.get(n) is not None}
    if given.get("repetition_penalty"):
        values["repetition_penalty"] = given["repetition_penalty"]
    limit = given.get("max_new_tokens") or MAX_NEW_TOKENS
    return Generation(max_new_tokens=max(1, min(int(limit), max_length)), **values)


def count_parameters(folder: Path) -> int:
    """Return the number of weights in a folder's safetensors files, from their headers.

    0 where a header cannot be read: whoever loads the file says what is wrong with it.
    """
    count = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(size, path.stat().st_size)))
            shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return 0
        for shape in shapes:
            product = 1
            for length in shape:
                product *= length
            count += product
    return count
