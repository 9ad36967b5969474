from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.data import split as splitting
from llmwright.data.config import SplitConfig
from llmwright.data.records import RowType, SplitName

Row = dict[str, Any]
SHARES: splitting.Shares = {"validation": 0.1, "test": 0.1}


def ledger_of(
    rows: list[Row], row_type: RowType = "classification", given: list[SplitName] | None = None
) -> splitting.Ledger:
    ledger = splitting.Ledger(row_type)
    for index, row in enumerate(rows):
        ledger.add(row, given[index] if given else None)
    return ledger


def share(
    rows: list[Row], method: str = "stratified", seed: int = 1, shares: splitting.Shares = SHARES
) -> tuple[splitting.Splits, list[str]]:
    said: list[str] = []
    config = SplitConfig(seed=seed)
    splits = splitting.share_out(
        ledger_of(rows), config, method, shares, lambda s, _: said.append(s)
    )
    return splits, said


def texts(count: int, label: str = "x") -> list[Row]:
    return [{"text": f"{label} {i}", "label": label} for i in range(count)]


def test_every_label_keeps_its_proportion() -> None:
    rows = texts(200, "common") + texts(50, "rare")
    splits, _ = share(rows)
    counts = Counter(zip(splits, [row["label"] for row in rows], strict=True))
    assert counts["test", "common"] == counts["validation", "common"] == 20
    assert counts["test", "rare"] == counts["validation", "rare"] == 5


def test_seed_decides() -> None:
    rows = texts(100)
    assert share(rows, seed=1)[0] == share(rows, seed=1)[0]
    assert share(rows, seed=1)[0] != share(rows, seed=2)[0]


@pytest.mark.parametrize("method", ["stratified", "random", "sequential"])
def test_same_text_or_group_never_lies_in_two_splits(method: str) -> None:
    rows = texts(100)
    # The same question in other letters, spaces and widths, and with another answer.
    rows += [{"text": f"Ｘ   {i}", "label": "y"} for i in range(100)]
    rows += [{"text": f"other {i}", "label": "x", "group": f"g{i % 20}"} for i in range(100)]
    rows += [{"text": f"again {i}", "label": "y", "group": f"g{i % 20}"} for i in range(100)]
    splits, _ = share(rows, method)
    assert {"train", "validation", "test"} == set(splits)
    for i in range(100):
        assert splits[i] == splits[100 + i]
        assert splits[200 + i] == splits[300 + i] == splits[200 + i % 20]


def test_small_classes_stay_in_training_and_are_named() -> None:
    splits, said = share(texts(100) + texts(4, "tiny") + texts(5, "five"))
    assert set(splits[100:104]) == {"train"}
    assert set(splits[104:]) == {"train", "validation", "test"}
    assert any("tiny" in sentence and "five" not in sentence for sentence in said)


def test_rarest_label_decides_for_several() -> None:
    rows: list[Row] = [{"text": f"a{i}", "labels": ["common"]} for i in range(180)]
    rows += [{"text": f"b{i}", "labels": ["common", "rare"]} for i in range(20)]
    splits, _ = share(rows)
    held = Counter(name for name, row in zip(splits, rows, strict=True) if "rare" in row["labels"])
    assert held == {"train": 16, "validation": 2, "test": 2}


def test_too_few_rows_all_train_and_it_is_said() -> None:
    splits, said = share(texts(4))
    assert set(splits) == {"train"}
    assert "fewer than 5" in said[0]


def test_sequential_keeps_the_order() -> None:
    splits, _ = share(texts(10), "sequential", shares={"validation": 0.2, "test": 0.1})
    assert splits == ["train"] * 7 + ["validation"] * 2 + ["test"]


def test_one_text_is_cut_by_characters() -> None:
    text = "".join(chr(0x4E00 + i % 100) for i in range(1_115_394))
    parts = splitting.cut_text(text, {"validation": 0.1})
    assert len(parts["train"]) == int(0.9 * len(text))
    assert parts["train"] + parts["validation"] == text
    assert list(splitting.cut_text("0123456789", SHARES).values()) == ["01234567", "8", "9"]


def test_given_splits_keep_their_rows_and_lend_validation() -> None:
    rows = texts(100) + [{"text": f"t {i}", "label": "x"} for i in range(30)]
    given: list[SplitName] = ["train"] * 100 + ["test"] * 30  # type: ignore[list-item]
    ledger = ledger_of(rows, given=given)
    shares = splitting.shares_of(ledger, SplitConfig())
    assert shares == {"validation": 0.1}
    splits = splitting.share_out(ledger, SplitConfig(), "random", shares, lambda *_: None)
    assert Counter(splits) == {"train": 90, "validation": 10, "test": 30}
    assert splitting.shares_of(ledger, SplitConfig(method="given")) == {}


@pytest.mark.parametrize("leaks", ["warn", "remove"])
def test_leaks_between_given_splits(leaks: Any) -> None:
    rows = [*texts(20), {"text": "X  3", "label": "x"}, {"text": "new", "label": "x"}]
    given: list[SplitName] = ["train"] * 20 + ["test"] * 2  # type: ignore[list-item]
    said: list[str] = []
    config = SplitConfig(leaks=leaks)
    ledger = ledger_of(rows, given=given)
    splits = splitting.share_out(ledger, config, "given", {}, lambda s, _: said.append(s))
    assert splits[3] == (None if leaks == "remove" else "train")
    assert splits[20:] == ["test", "test"]
    assert said[0].startswith("1 training rows")


def test_labels_that_training_lacks() -> None:
    rows = [*texts(5), *texts(5, "y"), {"text": "n", "label": "new"}]
    given: list[SplitName] = ["train"] * 10 + ["test"]  # type: ignore[list-item]
    ledger = ledger_of(rows, given=given)
    with pytest.raises(InputError, match="DATA-043.*new"):
        splitting.check_labels(ledger, list(ledger.given), lambda *_: None)
    with pytest.raises(InputError, match='DATA-042.*"x"'):
        splitting.check_labels(ledger_of(texts(5)), ["train"] * 5, lambda *_: None)
    said: list[str] = []
    tags = ledger_of(
        [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": ["B-X"]}],
        "tags",
        ["train", "test"],
    )
    splitting.check_labels(tags, list(tags.given), lambda s, _: said.append(s))
    assert "B-X" in said[0]


def test_methods_that_do_not_fit() -> None:
    plain = ledger_of([{"text": "a"}, {"text": "b"}], "text")
    with pytest.raises(ConfigError, match="DATA-045"):
        splitting.method_of(plain, SplitConfig(method="stratified"), "documents")
    with pytest.raises(ConfigError, match="DATA-046"):
        splitting.method_of(plain, SplitConfig(method="given"), "documents")
    assert splitting.method_of(plain, SplitConfig(), "documents") == "random"
    assert (
        splitting.method_of(ledger_of([{"text": "a"}], "text"), SplitConfig(), "") == "sequential"
    )
    held_out = ledger_of(texts(2), given=["test", "test"])
    with pytest.raises(InputError, match="DATA-044"):
        splitting.share_out(held_out, SplitConfig(), "given", {}, lambda *_: None)


def test_a_label_that_is_rare_in_its_component_decides() -> None:
    # Five groups of "x" rows; the only "rare" row stands behind others in one of them.
    rows: list[Row] = [{"text": f"t{i}", "label": "x", "group": f"g{i % 20}"} for i in range(200)]
    rows[119]["label"] = "rare"
    for seed in range(40):
        splits, said = share(rows, seed=seed)
        assert splits[119] == "train"
        assert {"train", "validation", "test"} == set(splits)
        assert any("whole: rare" in sentence for sentence in said)


def test_labels_said_to_stay_in_training_do() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        names = ["a"] * 20 + ["b"] * 6 + ["c"] * 2 + ["d"]
        rows: list[Row] = [
            {"text": f"t{i}", "labels": chance.choices(names, k=2), "group": f"g{i % 40}"}
            for i in range(120)
        ]
        splits, said = share(rows, seed=seed)
        small = {
            name
            for sentence in said
            for name in sentence.split("whole: ")[-1].rstrip(".").split(", ")
        }
        for split, row in zip(splits, rows, strict=True):
            assert split == "train" or small.isdisjoint(row["labels"])


def test_removing_leaks_must_leave_something_to_train_on() -> None:
    rows = texts(10) + texts(10)
    given: list[SplitName] = ["train"] * 10 + ["test"] * 10  # type: ignore[list-item]
    config = SplitConfig(leaks="remove")
    with pytest.raises(InputError, match="DATA-044"):
        splitting.share_out(ledger_of(rows, given=given), config, "given", {}, lambda *_: None)


def test_settings_that_given_splits_overrule_are_named() -> None:
    rows = [{"text": f"t {i}", "label": f"l{i % 2}"} for i in range(90)]
    given: list[SplitName] = ["train", "validation", "test"] * 30  # type: ignore[list-item]
    config = SplitConfig(test=0.3, validation=0.2, method="stratified")
    ledger, said = ledger_of(rows, given=given), list[str]()
    shares = splitting.shares_of(ledger, config)
    method = splitting.method_of(ledger, config, "classification")
    splitting.share_out(ledger, config, method, shares, lambda s, _: said.append(s))
    assert "validation: 0.2, test: 0.3, method: stratified" in said[-1]
    said.clear()
    splitting.share_out(ledger, SplitConfig(), "given", {}, lambda s, _: said.append(s))
    assert not [sentence for sentence in said if "do nothing" in sentence]
