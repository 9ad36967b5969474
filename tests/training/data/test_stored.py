"""Examples come back from the disk as they were, and a split is encoded once."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.tasks.task import Example
from llmwright.training.data import stored
from llmwright.training.data.stored import Piece, StoredExamples


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


TEXT = ids(5, 6, 7)
# Labels become their own, then other fields come and go, and a row has no example or two.
PIECES = [
    Piece(0, [Example(TEXT, TEXT)], False),
    Piece(1, [], True),
    Piece(2, [Example(ids(8), ids(-100), truncated=True), Example(ids(), ids())], True),
    Piece(
        4,
        [
            Example(
                ids(70_000, 1),
                None,
                word_ids_T=ids(-1, 0),
                extras={"second": ids(9, 9, 9), "flag": np.array(True), "share": np.array([0.5])},
            )
        ],
        False,
    ),
    Piece(5, [Example(ids(2), ids(3), token_type_ids_T=ids(1))], False),
]
EXAMPLES = [example for piece in PIECES for example in piece.kept]


def same(one: Example, two: Example) -> None:
    a, b = stored.fields_of(one), stored.fields_of(two)
    assert a.keys() == b.keys()
    assert one.truncated == two.truncated
    for name, value in a.items():
        assert b[name].dtype == value.dtype, name
        np.testing.assert_array_equal(b[name], value)


def test_every_field_survives(tmp_path) -> None:
    stored.write(tmp_path, iter(PIECES))
    found = StoredExamples(tmp_path)
    assert (len(found), found.num_cut, found.num_empty) == (len(EXAMPLES), 2, 1)
    assert found.owners_N.tolist() == [0, 2, 2, 4, 5]
    for reading in (list(found), [found[i] for i in range(len(found))], found[:], found[-5:]):
        for one, two in zip(EXAMPLES, reading, strict=True):
            same(one, two)
    with pytest.raises(IndexError):
        found[len(found)]


def test_blocks_meet_without_a_gap(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(stored, "BLOCK", 2)
    stored.write(tmp_path, iter(PIECES))
    for one, two in zip(EXAMPLES, StoredExamples(tmp_path), strict=True):
        same(one, two)


def test_texts_that_are_their_own_labels_are_kept_once(tmp_path) -> None:
    stored.write(tmp_path, (Piece(i, [Example(TEXT, TEXT)], False) for i in range(4)))
    found = StoredExamples(tmp_path)
    assert found[3].labels is not None
    np.testing.assert_array_equal(found[3].labels, TEXT)
    stream_N, ends_D = found.stream()
    assert stream_N.tolist() == TEXT.tolist() * 4
    assert ends_D.tolist() == [3, 6, 9, 12]
    assert sorted(path.suffix for path in tmp_path.iterdir()).count(".ends") == 1


def test_a_file_that_was_cut_is_noticed(tmp_path) -> None:
    stored.write(tmp_path, iter(PIECES))
    path = tmp_path / "0.bin"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="damaged"):
        StoredExamples(tmp_path)
