"""What a published model's own files say becomes a contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.contract import Contract, Embedding
from llmwright.tasks.published.derive import derive_contract
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import CHAT_ROLES, CHATML, Framing

ONE_LABEL = {"id2label": {"0": "x"}}
BERT = {"model_type": "bert", "max_position_embeddings": 64, "vocab_size": 300}


def tokenizer_of(frame: str = "none", template: str | None = None) -> Any:
    texts = ["the cat sat", *CHAT_ROLES]
    config = TokenizeConfig(kind="char", vocab_size=300)
    return TOKENIZERS.get("char")(config, texts, Framing(frame=frame, chat_template=template))


def derived(folder: Path, tokenizer: Any = None, **files: Any) -> Contract:
    folder.mkdir(exist_ok=True)
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    before = sorted(folder.rglob("*"))
    contract, notes = derive_contract(folder, tokenizer or tokenizer_of())
    assert "no probes" in notes[0]
    assert sorted(folder.rglob("*")) == before
    return contract


@pytest.mark.parametrize(
    ("architecture", "more", "task", "row_type"),
    [
        ("BertForSequenceClassification", {}, "text-classification", "classification"),
        (
            "BertForSequenceClassification",
            {"id2label": {"0": "x"}},
            "text-regression",
            "regression",
        ),
        ("BertForTokenClassification", {}, "token-classification", "tags"),
        ("BertForMaskedLM", {}, "fill-mask", "text"),
        ("BertModel", {}, "text-embedding", "text"),
        ("LlamaForCausalLM", {}, "text-generation", "text"),
        ("GPT2LMHeadModel", {}, "text-generation", "text"),
    ],
)
def test_the_architecture_says_the_task(
    architecture: str, more: dict[str, Any], task: str, row_type: str, tmp_path: Path
) -> None:
    config = {**BERT, "architectures": [architecture], **more}
    found = derived(tmp_path, config=config)
    assert (found.task, found.row_type, found.max_length) == (task, row_type, 64)
    assert found.special_tokens["pad"] == tokenizer_of().pad_token_id


def test_seq2seq_needs_an_encoder_and_a_start(tmp_path: Path) -> None:
    config = {**BERT, "architectures": ["T5ForConditionalGeneration"]}
    with pytest.raises(InputError, match="T5ForCond") as caught:
        derived(tmp_path, config=config)
    assert caught.value.code == "TASK-042"
    config |= {"is_encoder_decoder": True}
    with pytest.raises(InputError, match="decoder_start_token_id"):
        derived(tmp_path, config=config)
    found = derived(tmp_path, config=config | {"decoder_start_token_id": 7, "eos_token_id": 1})
    assert found.special_tokens["decoder_start"] == 7
    assert 1 in found.stop_token_ids


def test_labels_keep_their_order(tmp_path: Path) -> None:
    names = {"2": "neutral", "0": "contradiction", "1": "entailment"}
    config = {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": names}
    found = derived(tmp_path, config=config | {"type_vocab_size": 2})
    assert found.labels == ["contradiction", "entailment", "neutral"]
    # Such labels tell how two texts are related.
    assert found.fields["text_pair"] == "text_pair"
    assert found.token_types
    plain = derived(tmp_path, config={**config, "id2label": {"0": "bad", "1": "good"}})
    assert "text_pair" not in plain.fields


def test_generation_is_as_the_publishers_have_it(tmp_path: Path) -> None:
    config = {**BERT, "architectures": ["LlamaForCausalLM"], "eos_token_id": 9}
    sampling = {"do_sample": True, "temperature": 0.6, "top_k": 20, "eos_token_id": [3, 4]}
    tokenizer = tokenizer_of(template=CHATML)
    found = derived(tmp_path, tokenizer, config=config, generation_config=sampling)
    assert found.row_type == "messages"
    assert found.chat_template_sha256 is not None
    assert (found.generation.temperature, found.generation.top_k) == (0.6, 20)
    assert set(found.stop_token_ids) == {3, 4, 9, tokenizer.eos_token_id}
    assert found.generation.max_new_tokens == 64
    greedy = derived(tmp_path, config=config, generation_config={"temperature": 0.6})
    assert greedy.generation.temperature == 0


def test_positions_of_roberta_begin_behind_the_padding(tmp_path: Path) -> None:
    config = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert derived(tmp_path, config={**config, "architectures": ["RobertaModel"]}).max_length == 512


def test_weights_are_counted_from_their_headers(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    for name, shape in (("a", (3, 4)), ("b", (5,))):
        save_file({name: np.zeros(shape, np.float32)}, tmp_path / f"{name}.safetensors")
    config = {**BERT, "architectures": ["BertModel"]}
    assert derived(tmp_path, config=config).num_parameters == 17
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 9)
    assert derived(tmp_path, config=config).num_parameters == 0


POOLING = {"word_embedding_dimension": 8, "pooling_mode_cls_token": True}
STEPS = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
NORMALIZE = {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}


def sentence_encoder(folder: Path, pooling: dict[str, Any], **files: Any) -> Contract:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return derived(folder, config={**BERT, "architectures": ["BertModel"]}, **files)


def test_sentence_encoders_say_how_vectors_are_made(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": None}
    found = sentence_encoder(
        tmp_path,
        POOLING,
        modules=[*STEPS, NORMALIZE],
        sentence_bert_config={"max_seq_length": 32},
        config_sentence_transformers=settings,
    )
    assert found.embedding == Embedding(pooling="cls", prompts={"query": "query: "})
    assert found.max_length == 32
    bare = sentence_encoder(tmp_path, {"pooling_mode": "lasttoken"}, modules=STEPS)
    assert bare.embedding is not None
    assert (bare.embedding.pooling, bare.embedding.normalized) == ("last", False)


@pytest.mark.parametrize(
    ("pooling", "steps", "named"),
    [
        ({"pooling_mode_max_tokens": True}, STEPS, "pooling_mode_max_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, STEPS, "cls_token"),
        (POOLING, [*STEPS, {"path": "2_Dense", "type": "models.Dense"}], "Dense"),
        (POOLING, STEPS[:1], "-"),
        (POOLING, [STEPS[0], {**STEPS[1], "path": "../elsewhere"}], "elsewhere"),
    ],
)
def test_steps_that_are_not_known_are_refused(
    pooling: dict[str, Any], steps: list[dict[str, str]], named: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=named) as caught:
        sentence_encoder(tmp_path, pooling, modules=steps)
    assert caught.value.code == "TASK-043"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json") as caught:
        derived(tmp_path)
    assert caught.value.code == "TASK-041"
