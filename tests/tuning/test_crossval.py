"""Folds are disjoint, cover the rows, keep groups together and spread labels."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from llmwright.core import files
from llmwright.core.artifacts import Store
from llmwright.core.errors import InputError
from llmwright.data.records import Dataset, DatasetInfo
from llmwright.tuning.crossval import make_folds


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def folds(store):
    """Return the held-out rows of each fold of some rows, after checking what holds for all."""

    def make(rows, num_folds=3, row_type="classification", method="", seed=1, whole=True):
        info = DatasetInfo(
            task="text-classification",
            row_type=row_type,
            shape=row_type,
            fields={},
            counts={"train": len(rows), "test": 1},
            split={"method": method},
        )
        placed = [{**row, "source": "d.csv", "row": i} for i, row in enumerate(rows)]
        with store.draft("dataset") as draft:
            pl.DataFrame(placed).write_parquet(draft.path / "train.parquet")
            pl.DataFrame(placed[:1]).write_parquet(draft.path / "test.parquet")
            files.write_json(draft.path / "dataset.json", info.model_dump())
        said = []
        made = make_folds(draft.artifact, num_folds, seed, store, lambda *s: said.append(s))
        opened = [Dataset.open(fold.path) for fold in made]
        assert all(one.splits == ("train", "validation") for one in opened)
        held = [one.rows("validation") for one in opened]
        trained = [one.rows("train") for one in opened]
        if whole:
            for train, out in zip(trained, held, strict=True):
                numbers = [row["row"] for row in (*train, *out)]
                assert sorted(numbers) == list(range(len(rows)))
        assert all(out and train for out, train in zip(held, trained, strict=True))
        return held, said

    return make


def numbers(held):
    return [[row["row"] for row in out] for out in held]


def labelled(counts: dict[str, int]):
    return [{"text": f"{name} {i}", "label": name} for name, n in counts.items() for i in range(n)]


def test_folds_are_disjoint_cover_and_spread_labels(folds) -> None:
    held, said = folds(labelled({"a": 12, "b": 6, "c": 3}))
    found = [number for out in numbers(held) for number in out]
    assert sorted(found) == list(range(21))
    for out in held:
        assert Counter(row["label"] for row in out) == {"a": 4, "b": 2, "c": 1}
    assert said == []


def test_the_seed_decides(folds) -> None:
    rows = labelled({"a": 12, "b": 12})
    first, again = numbers(folds(rows)[0]), numbers(folds(rows)[0])
    assert first == again != numbers(folds(rows, seed=2)[0])


def test_groups_and_equal_questions_stay_together(folds) -> None:
    rows = [
        {"text": f"t{i if i > 3 else 0}", "label": "ab"[i % 2], "group": str(i // 3)}
        for i in range(24)
    ]
    held, _ = folds(rows, num_folds=4)
    places = {row["row"]: k for k, out in enumerate(held) for row in out}
    assert set(places) == set(range(24))
    for i in range(0, 24, 3):
        assert len({places[i + k] for k in range(3)}) == 1
    # Rows 0 and 3 ask the same and so join their groups.
    assert places[0] == places[3] == places[5]
    assert {len(out) for out in held} == {6}


def test_what_was_split_in_order_is_cut_in_order(folds) -> None:
    rows = [{"input": f"q{i}", "target": "x"} for i in range(10)]
    held, _ = folds(rows, row_type="pair", method="sequential")
    assert numbers(held) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    few, _ = folds(rows[:3], row_type="pair", method="sequential")
    assert numbers(few) == [[0], [1], [2]]


def test_one_text_is_cut_by_characters(folds) -> None:
    held, _ = folds([{"text": "abcdefghij"}], row_type="text", whole=False)
    assert [row["text"] for out in held for row in out] == ["abc", "def", "ghij"]


def test_a_label_with_one_group_always_trains(folds) -> None:
    held, said = folds(labelled({"a": 6, "rare": 1}), whole=False)
    assert not [row for out in held for row in out if row["label"] == "rare"]
    assert "rare" in said[0][0]
    assert said[0][1] == "warning"


def test_too_few_rows_for_the_folds(folds) -> None:
    rows = [{"text": "same", "label": "a"}, {"text": "same", "label": "b"}]
    for given, row_type in ((rows, "classification"), ([{"text": "ab"}], "text")):
        with pytest.raises(InputError) as caught:
            folds(given, row_type=row_type)
        assert caught.value.code == "TUNE-010"
