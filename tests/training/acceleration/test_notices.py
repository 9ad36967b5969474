"""What is switched on to be quick is said, and what is not, with the reason."""

from __future__ import annotations

import pytest

from llmwright.core.events import Notice

ROWS = [{"input": "red ", "target": "sun"}, {"input": "cold blue ", "target": "snowy night"}] * 4


def said(bench, **values) -> str:
    dataset = bench.dataset("text-generation", "pair", train=ROWS)
    tokenizer = bench.tokenizer(["red sun cold blue snowy night"])
    bench.train({"max_steps": 1, "batch_size": 8, "lr": 1e-3, **values}, dataset, tokenizer)
    return "\n".join(event.text for event in bench.events if isinstance(event, Notice))


def test_each_choice_has_its_line(bench, tiny) -> None:
    told = said(bench, model=tiny())
    for part in (
        "Fused kernels (Liger) and TF32 are not used",
        "Rows are not joined: on a processor",
        "Calculating in float32",
        "Attention needs no mask",
        "Logits are made only of tokens that are learned",
        "The optimizer adamw changes all weights in one fused call",
        "The model is not compiled",
    ):
        assert told.count(part) == 1, told


def test_what_is_not_there_is_not_said(bench, tiny) -> None:
    told = said(bench, model=tiny(), optimizer={"kind": "adafactor"})
    assert "Dropout" not in told
    assert "Attention of up to 512" not in told
    assert "The optimizer adafactor is not fused" in told


@pytest.mark.parametrize(("batch_size", "share"), [(8, "30.4%"), (4, "0.0%")])
def test_the_share_of_padding_is_that_of_the_batches(bench, tiny, batch_size, share) -> None:
    # 4 rows of 9 tokens and 4 of 23: in one batch, 4 * 14 of 8 * 23 places are padding.
    told = said(bench, model=tiny(), batch_size=batch_size)
    assert f"Rows of similar length share a batch: {share}" in told
