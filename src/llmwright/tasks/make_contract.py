"""A contract from what is known when a model is made: data, tokenizer and model configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmwright.core.errors import ConfigError
from llmwright.data.records import DatasetInfo
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract, Generation
from llmwright.tasks.task import TASKS, Task
from llmwright.tokenization.steps import steps_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

SPECIAL = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")


@dataclass(frozen=True)
class ContractRequest:
    """What a contract is made from.

    Attributes:
        info: What the dataset is to the finished model (`judged.served`).
        tokenizer: The model's tokenizer, with a padding token.
        model_config: The model's ``config.json``; None while there is no model yet.
        num_parameters: Number of weights.
        max_length: Longest input in tokens.
        max_target_length: Longest target in tokens (seq2seq).
        long_texts: Whether the plain texts are mostly longer than `max_length`.
        profile: What `profile.profile_of` found in the training data.
    """

    info: DatasetInfo
    tokenizer: PreTrainedTokenizerFast
    model_config: PretrainedConfig | None
    num_parameters: int
    max_length: int
    max_target_length: int | None = None
    long_texts: bool = False
    profile: dict[str, Any] = field(default_factory=dict)


def task_of(info: DatasetInfo) -> Task:
    """Return the task of the model that learns from a dataset.

    Args:
        info: What the dataset is to the finished model (`judged.served`).

    Raises:
        ConfigError: The task cannot learn from such rows (``TASK-004``).
    """
    task = TASKS.get(info.task)()
    if info.row_type not in task.row_types:
        types = ", ".join(task.row_types)
        raise ConfigError("TASK-004", task=info.task, row_type=info.row_type, types=types)
    return task


def make_contract(request: ContractRequest) -> Contract:
    """Return the contract of a model.

    Raises:
        InputError: The tokenizer has no chat template for conversations (``TASK-005``).
    """
    info, tokenizer = request.info, request.tokenizer
    chats = info.row_type == "messages"
    return Contract(
        task=info.task,
        row_type=info.row_type,
        model_type=getattr(request.model_config, "model_type", ""),
        num_parameters=request.num_parameters,
        fields=info.fields,
        preprocessing=info.preprocessing,
        text_steps=steps_of(tokenizer),
        labels=info.labels,
        multi_label=info.multi_label,
        numbers=info.numbers,
        max_length=request.max_length,
        max_target_length=request.max_target_length,
        chat_template_sha256=chat.template_sha256(tokenizer) if chats else None,
        begins_with_bos=_begins_with_bos(request),
        controls=info.controls,
        mask_token=str(tokenizer.mask_token) if TASKS.get(info.task).masks else "",
        token_types=_token_types(request),
        special_tokens=_special_tokens(request),
        stop_token_ids=_stop_token_ids(request),
        generation=Generation(max_new_tokens=_max_new_tokens(request)),
        profile=request.profile,
    )


def _begins_with_bos(request: ContractRequest) -> bool:
    """Say whether texts begin with the begin token (a chat template writes its own)."""
    if request.info.task != "text-generation" or request.info.row_type == "messages":
        return False
    return request.tokenizer.bos_token_id is not None and not request.long_texts


def _token_types(request: ContractRequest) -> bool:
    """Say whether rows have a second text and the model an embedding for its tokens (BERT)."""
    return (
        "text_pair" in request.info.fields
        and getattr(request.model_config, "type_vocab_size", 0) > 1
    )


def _special_tokens(request: ContractRequest) -> dict[str, int]:
    ids = {name: getattr(request.tokenizer, f"{name}_token_id") for name in SPECIAL}
    config = request.model_config
    if request.info.task == "seq2seq" and config is not None:
        ids["decoder_start"] = config.decoder_start_token_id
    return {name: int(index) for name, index in ids.items() if index is not None}


def _stop_token_ids(request: ContractRequest) -> list[int]:
    """Return the end token and, for conversations, what the template puts behind an answer."""
    end = request.tokenizer.eos_token_id
    stops = [] if end is None else [int(end)]
    if request.info.row_type == "messages":
        turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "1"}]
        _, labels_T = chat.encode_conversation(request.tokenizer, turns)
        stops += [
            int(label) for label in labels_T if int(label) in chat.stop_ids(request.tokenizer)
        ]
    return sorted(set(stops)) if TASKS.get(request.info.task).generates else []


def _max_new_tokens(request: ContractRequest) -> int:
    return max(1, min(256, request.max_target_length or request.max_length))
