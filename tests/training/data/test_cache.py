"""What was encoded once is not encoded again, unless something that matters has changed."""

from __future__ import annotations

import os
import shutil
import threading
import time

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.core.events import Notice, Progress
from llmwright.data.records import Dataset
from llmwright.models.load import load_tokenizer
from llmwright.tasks.make_contract import ContractRequest, make_contract
from llmwright.tasks.task import TASKS, Example
from llmwright.training.data.cache import TokenCache, identity_of
from llmwright.training.data.stored import INDEX, Piece

ROWS = [{"text": f"red sun {'blue ' * (i % 5)}", "label": "ab"[i % 2]} for i in range(20)]
VALUES = {"batch_size": 8, "max_steps": 2, "lr": 1e-3, "precision": "float32"}


@pytest.fixture
def parts(bench):
    dataset = bench.dataset("text-classification", "classification", train=ROWS, validation=ROWS)
    return dataset, bench.tokenizer(["red blue sun"], "cls_sep", "word")


def encoded(bench) -> list[str]:
    return [e.stage for e in bench.events if isinstance(e, Progress) and "encode" in e.stage]


def said(bench, words: str) -> list[str]:
    return [e.text for e in bench.events if isinstance(e, Notice) and words in e.text]


def test_a_second_run_starts_without_tokenising_and_learns_the_same(bench, tiny, parts) -> None:
    values = {**VALUES, "model": tiny("encoder")}
    first = bench.train(values, *parts, "first")
    assert set(encoded(bench)) == {"encode_train", "encode_validation"}
    assert len(said(bench, "into the token cache")) == 2
    bench.events.clear()
    second = bench.train(values, *parts, "second")
    assert encoded(bench) == []
    assert len(said(bench, "from the token cache")) == 2
    assert second.id == first.id
    # Without it, all goes as at first.
    shutil.rmtree(bench.store.home / "cache")
    bench.events.clear()
    assert bench.train(values, *parts, "third").id == first.id
    assert encoded(bench)


def test_shorter_limits_are_kept_apart(bench, tiny, parts) -> None:
    values = {**VALUES, "model": tiny("encoder")}
    bench.train(values, *parts, "first")
    bench.events.clear()
    bench.train({**values, "max_length": 4}, *parts, "second")
    # Training rows are measured as before; those that are too long and the others are new.
    assert "encode_train" not in encoded(bench)
    assert "encode_validation" in encoded(bench)
    assert said(bench, "were cut")


def test_other_words_are_another_tokenizer(bench) -> None:
    one, other = (load_tokenizer(bench.tokenizer([w]).path) for w in ("red", "blue"))
    assert identity_of(one) != identity_of(other)
    before = identity_of(one)
    one.chat_template = "{{ messages }}"
    assert identity_of(one) != before


@pytest.fixture
def cache(tmp_path, bench):
    tokenizer = load_tokenizer(bench.tokenizer(["red"]).path)
    uses: list[tuple[str, int, bool]] = []
    task = TASKS.get("text-generation")()
    made = TokenCache.of(
        tmp_path / "c", {"dataset": "x"}, tokenizer, task, lambda *use: uses.append(use)
    )
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red"}])
    info = Dataset.open(dataset.path).info
    contract = make_contract(ContractRequest(info, tokenizer, None, 0, 8, 8))
    return made, contract, uses


def pieces():
    for index in range(3):
        ids = np.arange(index + 1)
        yield Piece(index, [Example(ids, ids)], False)


def test_two_runs_at_once_encode_once(cache) -> None:
    made, contract, uses = cache
    began: list[int] = []

    def slowly():
        began.append(1)
        time.sleep(0.3)
        yield from pieces()

    threads = [
        threading.Thread(target=made.keep, args=("train", contract, {}, slowly)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(began) == 1
    assert sorted(new for _, _, new in uses) == [False, False, True]
    assert {size for _, size, _ in uses} == {uses[0][1]}


def test_a_row_that_cannot_be_encoded_leaves_nothing_behind(cache) -> None:
    made, contract, _ = cache

    def wrong():
        yield from pieces()
        raise InputError("TASK-008", task="x")

    with pytest.raises(InputError, match="TASK-008"):
        made.keep("train", contract, {}, wrong)
    assert list(made.folder.iterdir()) == []
    assert len(made.keep("train", contract, {}, pieces)) == 3


def test_a_damaged_entry_is_made_again(cache) -> None:
    made, contract, uses = cache
    made.keep("train", contract, {}, pieces)
    [index] = made.folder.glob(f"*/{INDEX}")
    index.write_text("{")
    assert [len(e.input_ids_T) for e in made.keep("train", contract, {}, pieces)] == [1, 2, 3]
    assert [new for _, _, new in uses] == [True, True]


def test_what_nobody_used_for_a_month_is_removed(cache) -> None:
    made, contract, _ = cache
    made.keep("train", contract, {}, pieces)
    [index] = made.folder.glob(f"*/{INDEX}")
    os.utime(index, (0, 0))
    made.keep("validation", contract, {}, pieces)
    assert [path.parent != index.parent for path in made.folder.glob(f"*/{INDEX}")] == [True]
