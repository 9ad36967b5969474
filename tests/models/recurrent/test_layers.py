"""Padding, direction and state of the recurrent layers, pooling, hashed n-grams."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llmwright.models.recurrent.layers import (
    HashedNgrams,
    Pooling,
    RecurrentStack,
    TokenDropout,
    alignment,
    take,
)

CELLS = ["rnn", "lstm", "gru"]


def stack(cell: str, bidirectional: bool, layers: int = 2) -> RecurrentStack:
    torch.manual_seed(0)
    return RecurrentStack(4, 6, layers, cell, bidirectional, dropout=0.0).eval()


def padded(values_BTE: torch.Tensor, left: int, right: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows with random rubbish around them, and the mask that says so."""
    rows, _, size = values_BTE.shape
    rubbish = [torch.randn(rows, n, size) for n in (left, right)]
    mask = torch.ones(values_BTE.shape[:2], dtype=torch.long)
    mask = nn.functional.pad(mask, (left, right))
    return torch.cat([rubbish[0], values_BTE, rubbish[1]], dim=1), mask


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("left", "right"), [(0, 5), (4, 0), (2, 3)])
def test_padding_changes_nothing(cell: str, bidirectional: bool, left: int, right: int) -> None:
    reader, values = stack(cell, bidirectional), torch.randn(3, 7, 4)
    plain = reader(values, torch.ones(3, 7, dtype=torch.long))
    longer, mask = padded(values, left, right)
    found = reader(longer, mask)
    torch.testing.assert_close(found[:, left : left + 7], plain)
    assert not found[:, :left].any()
    assert not found[:, left + 7 :].any()


@pytest.mark.parametrize("cell", CELLS)
def test_two_directions_equal_torch_packed(cell: str) -> None:
    """The same weights in torch's own bidirectional cell on packed rows give the same."""
    reader = stack(cell, bidirectional=True, layers=1)
    own = type(reader.forwards[0])(4, 6, batch_first=True, bidirectional=True)
    weights = dict(reader.forwards[0].named_parameters())
    weights |= {f"{n}_reverse": w for n, w in reader.backwards[0].named_parameters()}
    own.load_state_dict(weights)
    values, lengths = torch.randn(3, 8, 4), torch.tensor([8, 3, 5])
    mask = (torch.arange(8)[None] < lengths[:, None]).long()
    packed = nn.utils.rnn.pack_padded_sequence(
        values, lengths, batch_first=True, enforce_sorted=False
    )
    expected, _ = nn.utils.rnn.pad_packed_sequence(own(packed)[0], batch_first=True)
    torch.testing.assert_close(reader(values, mask), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_reading_in_parts_equals_reading_at_once(cell: str) -> None:
    reader, values = stack(cell, bidirectional=False), torch.randn(2, 9, 4)
    whole = reader(values, torch.ones(2, 9, dtype=torch.long))
    first, state = reader.advance(values[:, :4], None, None)
    second, state = reader.advance(values[:, 4:], None, state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    assert state.get_seq_length() == 9
    order = torch.tensor([1, 0])
    state.reorder_cache(order)
    third, _ = reader.advance(values[order][:, :1], None, state)
    longer = torch.cat([values, values[:, :1]], dim=1)
    expected = reader(longer, torch.ones(2, 10, dtype=torch.long))[order, -1:]
    torch.testing.assert_close(third, expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("left", "right"), [(0, 3), (3, 0)])
def test_state_after_padding_is_that_of_the_last_token(cell: str, left: int, right: int) -> None:
    reader, values = stack(cell, bidirectional=False), torch.randn(2, 5, 4)
    _, plain = reader.advance(values, None, None)
    _, found = reader.advance(*padded(values, left, right), None)
    for expected, layer in zip(plain.layers, found.layers, strict=True):
        torch.testing.assert_close(layer, expected)


def test_alignment_goes_there_and_back() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0]])
    values = torch.arange(12.0).reshape(3, 4, 1)
    front, back, from_front, from_back = alignment(mask)
    assert take(values, front)[1, :2, 0].tolist() == [6, 7]
    assert take(values, back)[0, :3, 0].tolist() == [2, 1, 0]
    for there, here in ((front, from_front), (back, from_back)):
        restored = take(take(values, there), here)
        assert torch.equal(restored[mask.bool()], values[mask.bool()])


@pytest.mark.parametrize("kind", ["max", "mean", "last", "attention"])
@pytest.mark.parametrize(("left", "right"), [(0, 4), (3, 0)])
def test_pooling_ignores_padding(kind: str, left: int, right: int) -> None:
    torch.manual_seed(0)
    pooling, values = Pooling(kind, 4, bidirectional=True), torch.randn(3, 5, 4) - 5
    plain = pooling(values, torch.ones(3, 5, dtype=torch.long))
    torch.testing.assert_close(pooling(*padded(values, left, right)), plain)
    assert not pooling(values, torch.zeros(3, 5, dtype=torch.long))[:, :0].any()


def test_pooling_values() -> None:
    values = torch.tensor([[[1.0, 9.0], [3.0, 5.0], [2.0, 7.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert Pooling("max", 2, True)(values, mask).tolist() == [[3, 9]]
    assert Pooling("mean", 2, True)(values, mask).tolist() == [[2, 7]]
    assert Pooling("last", 2, False)(values, mask).tolist() == [[3, 5]]
    assert Pooling("last", 2, True)(values, mask).tolist() == [[3, 9]]


def test_ngrams_are_of_the_text_only() -> None:
    torch.manual_seed(0)
    ngrams = HashedNgrams([1, 2], buckets=97, size=5)
    ids = torch.tensor([[4, 5, 6]])
    plain = ngrams(ids, torch.ones_like(ids))
    longer = torch.tensor([[9, 4, 5, 6, 0, 0]])
    found = ngrams(longer, torch.tensor([[0, 1, 1, 1, 0, 0]]))
    torch.testing.assert_close(found, plain)
    turned = ngrams(torch.tensor([[6, 5, 4]]), torch.ones(1, 3, dtype=torch.long))
    assert not torch.allclose(turned, plain)
    unigrams = HashedNgrams([1], buckets=97, size=5)
    same = [
        unigrams(torch.tensor([row]), torch.ones(1, 3).long()) for row in ([4, 5, 6], [6, 5, 4])
    ]
    torch.testing.assert_close(same[0], same[1])


def test_a_text_shorter_than_the_ngram_has_none() -> None:
    ngrams = HashedNgrams([3], buckets=11, size=5)
    ids = torch.tensor([[1, 2]])
    assert not ngrams(ids, torch.ones_like(ids)).any()


def test_token_dropout_leaves_out_whole_tokens_in_training_only() -> None:
    torch.manual_seed(0)
    layer, values = TokenDropout(0.25), torch.ones(4, 500, 3)
    found = layer.train()(values)
    per_token = found.sum(dim=-1)
    assert set(per_token.unique().tolist()) == {0.0, 4.0}
    assert found.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(values), values)
