"""Recording probes: what is kept, what must not travel, and within which bounds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmwright.core.errors import InputError
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.probes import Probes, probe_rows, record_probes, run_bounded
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]


def recorded(name: str, saved: Saved, rows_of: Rows, target: Path) -> Path:
    folder = Path(shutil.copytree(saved(name), target / name))
    record_probes(folder, rows_of(name), Contract.open(folder), "validation", 8)
    return folder


def test_all_families_are_recorded(
    names: list[str], saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    for name in names:
        folder = recorded(name, saved, rows_of, tmp_path)
        contract, probes = Contract.open(folder), Probes.open(folder)
        assert contract.probes is not None
        assert (contract.probes.source, contract.probes.count) == ("validation", 5)
        assert len(probes.probes) == 5
        predictor = Predictor.open(folder)
        answers = list(predictor.predict([probe.row for probe in probes.probes]))
        for probe, answer in zip(probes.probes, answers, strict=True):
            if contract.task == "text-embedding":
                assert np.allclose(answer["embedding"], probe.answer["embedding"], atol=1e-6)
                continue
            key = {"classification": "label", "tags": "tags"}.get(contract.row_type, "text")
            assert answer[key] == probe.answer[key]


def test_logits_are_the_models(saved: Saved, rows_of: Rows, tmp_path: Path) -> None:
    folder = recorded("classifier", saved, rows_of, tmp_path)
    predictor = Predictor.open(folder)
    for probe in Probes.open(folder).probes:
        ids = torch.from_numpy(probe.input_ids_T)[None]
        with torch.no_grad():
            logits = predictor.engine.model(ids).logits[0].numpy()  # type: ignore[attr-defined]
        assert probe.logits is not None
        assert np.abs(logits - probe.logits).max() < 1e-4


def test_log_probs_are_the_models(saved: Saved, rows_of: Rows, tmp_path: Path) -> None:
    folder = recorded("decoder", saved, rows_of, tmp_path)
    predictor = Predictor.open(folder)
    for probe in Probes.open(folder).probes:
        assert probe.token_ids_U is not None
        assert probe.top_ids_UK is not None
        assert probe.top_log_probs_UK is not None
        ids = torch.from_numpy(np.concatenate([probe.input_ids_T, probe.token_ids_U]))[None]
        with torch.no_grad():
            logits = predictor.engine.model(ids).logits[0].double()  # type: ignore[attr-defined]
        start = len(probe.input_ids_T) - 1
        steps = logits[start : start + len(probe.token_ids_U)].log_softmax(-1)
        values, top = steps.topk(32, dim=-1)
        assert np.abs(values.numpy() - probe.top_log_probs_UK).max() < 1e-4
        assert np.array_equal(top[:, 0].numpy(), probe.top_ids_UK[:, 0])
        assert np.array_equal(probe.token_ids_U, probe.top_ids_UK[:, 0])


def test_targets_and_personal_data_stay_behind(saved: Saved) -> None:
    contract = Contract.open(saved("seq2seq"))
    rows = [{"input": "I am a@b.example", "target": "secret", "source": "x.csv", "row": 1}]
    assert probe_rows(rows, contract, 4) == [{"input": "I am <email>"}]


def test_a_conversation_ends_before_its_answer(saved: Saved) -> None:
    contract = Contract.open(saved("decoder")).model_copy(update={"row_type": "messages"})
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "secret"}]
    assert probe_rows([{"messages": turns}], contract, 4) == [{"messages": turns[:1]}]


def test_rows_are_spread_and_each_is_taken_once(saved: Saved) -> None:
    contract = Contract.open(saved("classifier"))
    rows = [{"text": f"text {i // 2}"} for i in range(400)]
    found = [row["text"] for row in probe_rows(rows, contract, 16)]
    assert len(found) == len(set(found)) == 16
    assert found[0] == "text 0"
    assert found[-1] == "text 199"


def test_rows_sorted_by_label_give_probes_of_every_label(saved: Saved) -> None:
    contract = Contract.open(saved("classifier"))
    rows = [{"text": f"{label} {i}"} for label in "abcdefgh" for i in range(50)]
    found = [row["text"][0] for row in probe_rows(rows, contract, 32)]
    assert [found.count(label) for label in "abcdefgh"] == [4] * 8


def test_tagged_rows_with_personal_data_are_no_probes(saved: Saved) -> None:
    contract = Contract.open(saved("tagger"))
    rows = [{"tokens": list("电话13812345678")}, {"tokens": list("今天晴")}]
    assert probe_rows(rows, contract, 4) == rows[1:]


def test_a_slow_model_still_gets_four_probes() -> None:
    assert [len(part) for part in run_bounded(range(30), list, max_seconds=0)] == [4]
    assert sum(len(part) for part in run_bounded(range(30), list)) == 30


def test_rows_without_input_are_refused(saved: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved("classifier"), tmp_path / "m"))
    with pytest.raises(InputError) as error:
        record_probes(folder, [{"text": ""}], Contract.open(folder), "validation")
    assert error.value.code == "INFER-012"


@pytest.mark.parametrize("name", ["probes.json", "probes.safetensors"])
def test_damaged_probes_are_said(name: str, saved: Saved, rows_of: Rows, tmp_path: Path) -> None:
    folder = recorded("classifier", saved, rows_of, tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError) as error:
        Probes.open(folder)
    assert error.value.code == "INFER-011"
    (folder / name).unlink()
    with pytest.raises(InputError) as missing:
        Probes.open(folder)
    assert missing.value.code == "INFER-010"


def test_one_long_text_gives_many_probes(saved: Saved) -> None:
    contract = Contract.open(saved("decoder"))
    book = " ".join(f"line{i} mail{i}@example.org 电话13812345678" for i in range(2000))
    found = [row["text"] for row in probe_rows([{"text": book}], contract, 32)]
    assert len(found) == 32
    assert found[0].startswith("line0 ")
    assert not [text for text in found if "@" in text or "1381234" in text]
    numbers = [int(re.search(r"line(\d+)", text).group(1)) for text in found]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 1900
    begins = ("line", "<email>", "<phone>", "电话", "话")
    assert all(text.startswith(begins) for text in found)


def test_a_piece_is_as_clean_as_a_request(saved: Saved) -> None:
    contract = Contract.open(saved("decoder"))
    contract = contract.model_copy(update={"preprocessing": [{"kind": "whitespace"}]})
    task = TASKS.get(contract.task)()
    # Cut after 200 characters, most pieces end in white space.
    rows = [{"text": f"{i}" + " word" * 39 + " " * (i % 9) + "\nend of it"} for i in range(40)]
    for row in probe_rows(rows, contract, 16):
        assert task.read({"prompt": row["text"]}, contract) == row
