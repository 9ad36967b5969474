"""Batches: every row once, little padding, the same order for the same seed, limits kept."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.tasks.contract import Contract
from llmwright.tasks.padding import padded_width
from llmwright.tasks.seq2seq import Seq2Seq
from llmwright.tasks.task import Example
from llmwright.tasks.text_classification import TextClassification
from llmwright.training.data.batching import BucketedRows, TokenStream, describe_rows

CONTRACT = Contract(
    task="text-classification",
    row_type="classification",
    model_type="bert",
    num_parameters=1,
    fields={},
    max_length=512,
    special_tokens={"pad": 0},
)
LENGTHS = np.random.default_rng(0).integers(5, 200, 3000)
EXAMPLES = [Example(np.full(n, 7), np.array(0)) for n in LENGTHS]


def bucketed(size=None, tokens=None, seed=1):
    return BucketedRows(
        EXAMPLES, range(len(EXAMPLES)), TextClassification(), CONTRACT, size, tokens, seed
    )


@pytest.mark.parametrize("limits", [(16, None), (None, 2000), (16, 1500)])
def test_every_row_comes_once_within_the_limits(limits) -> None:
    size, tokens = limits
    batches = bucketed(size, tokens)
    plan = batches.epoch(0)
    assert sorted(np.concatenate(plan).tolist()) == list(range(3000))
    assert len(plan) == batches.num_batches(0)
    for indices in plan:
        assert size is None or len(indices) <= size
        assert tokens is None or len(indices) * LENGTHS[indices].max() <= tokens


@pytest.mark.parametrize("limits", [(16, None), (None, 2000)])
def test_little_is_padding(limits) -> None:
    batches = bucketed(*limits)
    padded = real = 0
    for indices in batches.epoch(0):
        arrays = batches.collate(indices, 0)
        padded += arrays["input_ids"].size
        real += int(arrays["attention_mask"].sum())
        assert batches.count_tokens(indices) == arrays["attention_mask"].sum()
    assert real == batches.num_tokens == LENGTHS.sum()
    assert 1 - real / padded < 0.07


def test_shapes_come_again() -> None:
    batches = bucketed(None, 2000)
    shapes = {batches.collate(indices, 0)["input_ids"].shape for indices in batches.epoch(0)}
    widths = {padded_width(int(length), None) for length in LENGTHS}
    # One shape for each width; what is left of a pool has fewer rows.
    assert len(shapes) <= len(widths) + 4
    assert batches.num_batches(0) > 4 * len(shapes)


@pytest.mark.parametrize("ahead", [0, 1])
def test_widths_are_round_and_keep_their_limit(ahead: int) -> None:
    widths = [padded_width(n, 500, ahead) for n in range(1, 600)]
    assert all(width >= n for n, width in enumerate(widths, start=1))
    assert all(width <= max(n, 500) for n, width in enumerate(widths, start=1))
    assert all(width <= n * 9 / 8 + 1 for n, width in enumerate(widths, start=1))
    assert padded_width(65, None) == 72
    assert padded_width(65 + ahead, None, ahead) == 72 + ahead
    assert padded_width(499, 500) == padded_width(500, 500) == 500 != padded_width(500, None)


def test_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed, epoch):
        return [indices.tolist() for indices in bucketed(16, None, seed).epoch(epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    # Batches do not come in the order of their lengths.
    means = [LENGTHS[indices].mean() for indices in order(1, 0)]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.2


def test_a_row_longer_than_the_token_limit_is_alone() -> None:
    plan = bucketed(None, 100).epoch(0)
    assert all(len(indices) == 1 for indices in plan if LENGTHS[indices].max() > 100)


def test_input_and_target_are_padded_apart_within_the_limit() -> None:
    random = np.random.default_rng(3)
    pairs = [(int(a), int(b)) for a, b in random.integers(2, 100, (500, 2))]
    examples = [Example(np.full(a, 7), np.full(b, 7)) for a, b in pairs]
    contract = CONTRACT.model_copy(update={"special_tokens": {"pad": 0, "decoder_start": 1}})
    batches = BucketedRows(examples, range(500), Seq2Seq(), contract, None, 1000, 1)
    for indices in batches.epoch(0):
        arrays = batches.collate(indices, 0)
        assert arrays["input_ids"].size + arrays["labels"].size <= 1000
    assert batches.num_tokens == sum(a + b for a, b in pairs)


def test_a_limit_out_of_reach_changes_nothing() -> None:
    widest = padded_width(int(LENGTHS.max()), CONTRACT.max_length)
    near, without = bucketed(16, 16 * widest), bucketed(16)
    assert near.num_batches(0) == without.num_batches(0)
    for a, b in zip(near.epoch(0), without.epoch(0), strict=True):
        assert a.tolist() == b.tolist()


DOCUMENTS = [np.arange(40), np.arange(100, 130), np.arange(200, 233)]
RING = np.concatenate(DOCUMENTS)


def joined(documents):
    return np.concatenate(documents), np.cumsum([len(document) for document in documents])


def test_blocks_cover_the_stream_at_other_places_each_epoch() -> None:
    stream = TokenStream(*joined(DOCUMENTS), range(len(DOCUMENTS)), 10, 4, None, seed=3)
    starts = []
    for epoch in range(3):
        blocks = [
            block
            for indices in stream.epoch(epoch)
            for block in stream.collate(indices, epoch)["input_ids"]
        ]
        assert len(blocks) == len(RING) // 10 == 10
        firsts = []
        for block in blocks:
            place = int(np.flatnonzero(block[0] == RING)[0])
            # One token more than is read: the last one is only predicted.
            assert block.tolist() == RING.take(range(place, place + 11), mode="wrap").tolist()
            firsts.append(place)
        read = {(first + i) % len(RING) for first in firsts for i in range(10)}
        assert len(read) == 100
        starts.append(sorted(firsts))
    assert starts[0] != starts[1] != starts[2]


def test_a_block_names_the_rows_it_is_made_of() -> None:
    # Every second row was left out: it held nothing to learn.
    owners = np.arange(len(DOCUMENTS)) * 2
    stream = TokenStream(*joined(DOCUMENTS), owners, 10, 1, None, seed=3)
    for epoch in range(3):
        for indices in stream.epoch(epoch):
            block = stream.collate(indices, epoch)["input_ids"][0]
            made_of = {int(token) // 100 * 2 for token in block}
            assert stream.rows(indices, epoch) == sorted(made_of)


def test_a_stream_shorter_than_a_block() -> None:
    stream = TokenStream(*joined([np.arange(5)]), [0], 10, 4, None, seed=0)
    assert stream.num_batches(0) == 1
    assert stream.collate(stream.epoch(0)[0], 0)["input_ids"].shape == (1, 5)


def test_rows_are_described_by_file_and_number() -> None:
    rows = [{"source": "a.csv", "row": n} for n in range(1, 12)]
    assert describe_rows(rows, [0, 4]) == "a.csv:1, a.csv:5"
    assert describe_rows(rows, range(10)).endswith("…")
