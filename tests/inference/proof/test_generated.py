"""Inputs of random tokens, for models without data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.generated import generated_rows
from llmwright.inference.proof.probes import probe_rows


@pytest.mark.parametrize(
    "name", ["classifier", "pairs", "tagger", "filler", "embedder", "decoder", "seq2seq"]
)
def test_every_family_can_be_asked_them(name: str, saved: Callable[[str], Path]) -> None:
    predictor = Predictor.open(saved(name))
    tokenizer, contract = predictor.tokenizer, predictor.contract
    rows = generated_rows(tokenizer, contract, 20, seed=1)
    assert rows == generated_rows(tokenizer, contract, 20, seed=1)
    assert rows != generated_rows(tokenizer, contract, 20, seed=2)
    chosen = probe_rows(rows, contract, 8)
    assert len(chosen) == 8
    assert all(len(predictor.encode(row).input_ids_T) for row in chosen)
