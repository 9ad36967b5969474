"""Vectors of texts: as transformers computes them, the same whatever shares the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from llmwright.core.errors import InputError
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import compare
from llmwright.inference.proof.probes import Probes, record_probes
from llmwright.tasks.contract import Embedding

Saved = Callable[[str], Path]
TEXTS = ["I lost my card.", "今天天气很好", "A strong wind blows from the north today", "a"]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_are_those_of_transformers(pooling: str, saved: Saved) -> None:
    predictor = Predictor.open(saved("embedder"))
    made = Embedding(pooling=pooling, normalized=pooling != "last")
    predictor.contract = predictor.contract.model_copy(update={"embedding": made})
    reference = AutoModel.from_pretrained(saved("embedder")).eval()
    found_ND = predictor.embed(TEXTS, batch_size=3)
    for text, found_D in zip(TEXTS, found_ND, strict=True):
        with torch.no_grad():
            inputs = predictor.tokenizer(text, return_tensors="pt")
            hidden_TD = reference(**inputs).last_hidden_state[0].numpy()
        expected_D = {"mean": hidden_TD.mean(0), "cls": hidden_TD[0], "last": hidden_TD[-1]}[
            pooling
        ]
        if made.normalized:
            expected_D = expected_D / np.linalg.norm(expected_D)
        assert np.abs(found_D - expected_D).max() < 1e-5


@pytest.mark.parametrize(
    "name", ["embedder", "filler", "classifier", "tagger", "recurrent", "decoder", "seq2seq"]
)
def test_batches_change_no_vector(name: str, saved: Saved) -> None:
    predictor = Predictor.open(saved(name))
    together_ND = predictor.embed(TEXTS, batch_size=4)
    alone_ND = np.concatenate([predictor.embed([text]) for text in TEXTS])
    assert np.abs(together_ND - alone_ND).max() < 1e-5
    assert np.allclose(np.linalg.norm(together_ND, axis=1), 1, atol=1e-5)
    # Different texts, different vectors.
    assert (together_ND @ together_ND.T)[0, 1] < 0.999


def test_decoders_use_their_last_token_and_encoders_the_mean(saved: Saved) -> None:
    assert Predictor.open(saved("decoder")).embedding == Embedding(pooling="last")
    assert Predictor.open(saved("filler")).embedding == Embedding(pooling="mean")


def test_what_has_no_vectors_says_so(saved: Saved) -> None:
    predictor = Predictor.open(saved("vae"))
    assert predictor.embedding is None
    with pytest.raises(InputError) as caught:
        predictor.embed(["a"])
    assert caught.value.code == "INFER-060"


def test_predict_answers_with_the_vector(saved: Saved) -> None:
    predictor = Predictor.open(saved("embedder"))
    (answer,) = predictor.predict([predictor.read("I lost my card.")])
    vector_D = predictor.embed(["I lost my card."])[0]
    assert np.allclose(answer["embedding"], vector_D, atol=1e-6)


def test_prompts_come_before_texts(saved: Saved) -> None:
    predictor = Predictor.open(saved("embedder"))
    plain_ND = predictor.embed(["query: a", "a"])
    prompts = Embedding(prompts={"query": "query: "}, default_prompt="")
    predictor.contract = predictor.contract.model_copy(update={"embedding": prompts})
    assert np.allclose(predictor.embed(["a"], prompt="query"), plain_ND[:1], atol=1e-6)
    assert np.allclose(predictor.embed(["a"]), plain_ND[1:], atol=1e-6)
    with pytest.raises(InputError, match="querry"):
        predictor.embed(["a"], prompt="querry")


def test_token_ids_are_taken_as_they_are_and_counted(saved: Saved) -> None:
    predictor = Predictor.open(saved("embedder"))
    ids = predictor.tokenizer(TEXTS[0])["input_ids"]
    full = predictor.embed_full([ids, TEXTS[0], "a" * 200])
    assert np.array_equal(full.vectors_ND[0], full.vectors_ND[1])
    assert full.num_tokens[:2] == [len(ids), len(ids)]
    assert full.truncated == [False, False, True]
    assert full.num_tokens[2] == predictor.contract.max_length
    with pytest.raises(InputError, match="999999"):
        predictor.embed([[1, 999999]])
    with pytest.raises(InputError):
        predictor.embed([" "])
    assert predictor.embed([]).shape == (0, 0)


def test_probes_prove_vectors(saved: Saved, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(saved("embedder"), folder)
    predictor = Predictor.open(folder)
    rows = [{"text": text} for text in TEXTS]
    record_probes(folder, rows, predictor.contract, "file", 4)
    probes = Probes.open(folder)
    table = compare(predictor, probes)
    assert table.passed
    assert table.value("cosine_distance") < 1e-5
    # The pooling is a part of the model.
    other = predictor.contract.model_copy(update={"embedding": Embedding(pooling="cls")})
    predictor.contract = other
    failed = {check.name for check in compare(predictor, probes).failed}
    assert failed == {"embedding", "vector_difference", "cosine_distance"}
