"""Tiny models with random weights, one of each family, saved the way training saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
)

from llmwright.models.load import save_model
from llmwright.models.recurrent.configuration import RecurrentConfig
from llmwright.models.recurrent.modeling import (
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
)
from llmwright.models.recurrent.register import register
from llmwright.models.vae.configuration import TextVaeConfig
from llmwright.models.vae.modeling import TextVae
from llmwright.models.vae.register import register as register_vae
from llmwright.tasks.contract import Contract, Embedding, Generation

TEXTS = [
    "今天天气很好，适合出门散步。",
    "明天有小雨，记得带伞 ☔😀。",
    "The weather is fine today, don't stay inside!",
    "A strong wind blows from the north.",
    "I lost my card. What should I do?",
]
LABELS = ["cold", "rain", "sun"]
TAGS = ["B-LOC", "I-LOC", "O"]
VOCAB = 400


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_tokenizer(frame: str = "none") -> PreTrainedTokenizerFast:
    """A byte-level BPE small enough to split most Chinese characters and emoji into bytes."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<unk>", "<bos>", "<eos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=VOCAB, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    if frame == "eos":
        raw.post_processor = processors.TemplateProcessing(
            single="$A <eos>", pair="$A <eos> $B:1 <eos>:1", special_tokens=[("<eos>", 3)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


SPECIAL = {"pad": 0, "unk": 1, "bos": 2, "eos": 3}
TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def _classifier() -> Any:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCAB, intermediate_size=64, num_labels=3, pad_token_id=0,
            max_position_embeddings=64, id2label=dict(enumerate(LABELS)),
            label2id={label: i for i, label in enumerate(LABELS)}, **TRANSFORMER,
        )
    )  # fmt: skip


def _tagger() -> Any:
    return BertForTokenClassification(
        BertConfig(
            vocab_size=VOCAB, intermediate_size=64, num_labels=3, pad_token_id=0,
            max_position_embeddings=64, **TRANSFORMER,
        )
    )  # fmt: skip


def _filler() -> Any:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=VOCAB, intermediate_size=64, pad_token_id=0, max_position_embeddings=64,
            **TRANSFORMER,
        )
    )  # fmt: skip


def _embedder() -> Any:
    return BertModel(
        BertConfig(
            vocab_size=VOCAB, intermediate_size=64, pad_token_id=0, max_position_embeddings=64,
            **TRANSFORMER,
        )
    )  # fmt: skip


def _decoder() -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB, intermediate_size=64, num_key_value_heads=2,
            max_position_embeddings=64, **IDS, **TRANSFORMER,
        )
    )  # fmt: skip


def _seq2seq() -> Any:
    return MarianMTModel(
        MarianConfig(
            vocab_size=VOCAB, d_model=32, encoder_layers=1, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
            decoder_ffn_dim=64, max_position_embeddings=64, decoder_start_token_id=2,
            forced_eos_token_id=None, **IDS,
        )
    )  # fmt: skip


def _recurrent(cls: Any, **values: Any) -> Any:
    register()
    sizes = {"embedding_size": 16, "hidden_size": 24, "num_layers": 1, "vocab_size": VOCAB}
    return cls(RecurrentConfig(**sizes, **IDS, **values))


def _vae() -> Any:
    register_vae()
    return TextVae(
        TextVaeConfig(
            vocab_size=VOCAB, embedding_size=16, hidden_size=24, num_layers=1, latent_size=8,
            unk_token_id=1, **IDS,
        )
    )  # fmt: skip


MODELS: dict[str, tuple[str, str, Callable[[], Any]]] = {
    "classifier": ("text-classification", "classification", _classifier),
    "pairs": ("text-classification", "classification", _classifier),
    "tagger": ("token-classification", "tags", _tagger),
    "filler": ("fill-mask", "text", _filler),
    "embedder": ("text-embedding", "text", _embedder),
    "decoder": ("text-generation", "text", _decoder),
    "seq2seq": ("seq2seq", "pair", _seq2seq),
    "recurrent": (
        "text-classification",
        "classification",
        lambda: _recurrent(
            RecurrentForSequenceClassification,
            bidirectional=True,
            num_labels=3,
            ngram_orders=[1, 2],
            ngram_buckets=128,
        ),
    ),
    "recurrent_tagger": (
        "token-classification",
        "tags",
        lambda: _recurrent(RecurrentForTokenClassification, bidirectional=True, num_labels=3),
    ),
    "recurrent_decoder": (
        "text-generation",
        "text",
        lambda: _recurrent(RecurrentForCausalLM, bidirectional=False),
    ),
    "vae": ("text-generation", "text", _vae),
}

FIELDS = {
    "seq2seq": {"input": "description", "target": "weather"},
    "pairs": {"text": "premise", "text_pair": "hypothesis"},
}


def build(name: str, folder: Path, seed: int = 0) -> Path:
    """Save the model of this name with tokenizer and contract, and return its folder."""
    task, row_type, make = MODELS[name]
    torch.manual_seed(seed)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Random weights as small as usual give almost equal logits: nothing to tell apart.
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, folder)
    tokenizer = make_tokenizer("eos" if name in ("seq2seq", "pairs") else "none")
    if name == "filler":
        tokenizer.add_special_tokens({"mask_token": "[MASK]"})
        model.resize_token_embeddings(len(tokenizer))
        save_model(model, folder)
    tokenizer.save_pretrained(folder)
    labels = {"classification": LABELS, "tags": TAGS}.get(row_type, [])
    generates = task in ("text-generation", "seq2seq")
    Contract(
        task=task,
        row_type=row_type,
        model_type=model.config.model_type,
        num_parameters=model.num_parameters(),
        fields=FIELDS.get(name, {}),
        token_types=name == "pairs",
        mask_token="[MASK]" if name == "filler" else "",
        labels=labels,
        max_length=48,
        embedding=Embedding() if task == "text-embedding" else None,
        max_target_length=24 if task == "seq2seq" else None,
        special_tokens=SPECIAL
        | ({"decoder_start": 2} if task == "seq2seq" else {})
        | ({"mask": tokenizer.mask_token_id} if name == "filler" else {}),
        stop_token_ids=[3] if generates else [],
        generation=Generation(max_new_tokens=12),
    ).save(folder)
    return folder


def rows_for(name: str) -> list[dict[str, Any]]:
    """Canonical rows of different lengths for the model of this name."""
    row_type = MODELS[name][1]
    if row_type == "classification":
        rows = [{"text": t, "label": LABELS[i % 3]} for i, t in enumerate(TEXTS)]
        if name == "pairs":
            rows = [{**row, "text_pair": TEXTS[i - 1][:9]} for i, row in enumerate(rows)]
        return rows
    if row_type == "tags":
        words = [t.split() if " " in t else list(t) for t in TEXTS]
        return [{"tokens": w, "tags": [TAGS[i % 3] for i in range(len(w))]} for w in words]
    if row_type == "pair":
        return [{"input": t, "target": TEXTS[-1 - i]} for i, t in enumerate(TEXTS)]
    if name == "filler":
        return [{"text": t[: 4 + 3 * i] + "[MASK]"} for i, t in enumerate(TEXTS)]
    return [{"text": t[: 4 + 3 * i]} for i, t in enumerate(TEXTS)]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tiny model by its name; each is made once."""
    root = tmp_path_factory.mktemp("tiny")
    made: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in made:
            made[name] = build(name, root / name)
        return made[name]

    return folder_of


@pytest.fixture(scope="session")
def rows_of() -> Callable[[str], list[dict[str, Any]]]:
    return rows_for


@pytest.fixture(scope="session")
def names() -> list[str]:
    return list(MODELS)


@pytest.fixture(scope="session")
def byte_bpe() -> PreTrainedTokenizerFast:
    return make_tokenizer()
