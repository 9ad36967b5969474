"""Controls stand before the input, are never learned, and are checked at the door."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.controls import ensure_controls, without_some
from llmwright.tasks.judged import conversation
from llmwright.tasks.preference import Flags, Pairs
from llmwright.tasks.task import IGNORE

CONTROLS = {"length": ["long", "short"], "tone": ["casual", "formal"]}
STYLE = {"tone": "formal", "length": None}


@pytest.fixture
def styled(make):
    def build(task: str, row_type: str, **more):
        found, tokenizer, contract = make(task, row_type, **more)
        assert ensure_controls(tokenizer, CONTROLS) == 6
        assert ensure_controls(tokenizer, CONTROLS) == 0
        return found, tokenizer, contract.model_copy(update={"controls": CONTROLS})

    return build


ROWS = {
    "text": {"text": "the cat sat"},
    "pair": {"input": "the cat", "target": "sat"},
    "messages": {
        "messages": [
            {"role": "user", "content": "the cat"},
            {"role": "assistant", "content": "sat"},
        ]
    },
}


@pytest.mark.parametrize("row_type", ["text", "pair", "messages"])
@pytest.mark.parametrize("limit", [64, 14])
def test_a_writer_reads_the_style_first(styled, row_type: str, limit: int) -> None:
    task, tokenizer, contract = styled("text-generation", row_type, max_length=limit)
    row = {**ROWS[row_type], "controls": STYLE}
    bare = contract.model_copy(update={"controls": {}, "max_length": limit - 2})
    for encode in (task.encode, task.encode_input):
        with_style, without = encode(row, tokenizer, contract), encode(row, tokenizer, bare)
        text = tokenizer.decode(with_style.input_ids_T)
        assert "<|length:any|><|tone:formal|>" in text[:40]
        assert len(with_style.input_ids_T) == len(without.input_ids_T) + 2 <= limit
        added = np.isin(with_style.input_ids_T, tokenizer.convert_tokens_to_ids(
            ["<|length:any|>", "<|tone:formal|>"]
        ))  # fmt: skip
        assert (with_style.input_ids_T[~added] == without.input_ids_T).all()
        if with_style.labels is not None:
            assert (with_style.labels[added] == IGNORE).all()
            assert (with_style.labels[~added] == without.labels).all()


def test_windows_score_each_token_once(styled) -> None:
    task, tokenizer, contract = styled("text-generation", "text", max_length=9)
    row = {"text": "the cat sat on the mat", "controls": STYLE}
    parts = task.encode_parts(row, tokenizer, contract)
    scored = [label for part in parts for label in part.labels[1:].tolist() if label != IGNORE]
    assert tokenizer.decode(scored) == "the cat sat on the mat<eos>"
    assert all("tone:formal" in tokenizer.decode(part.input_ids_T[:4]) for part in parts)
    assert max(len(part.input_ids_T) for part in parts) == 9


def test_an_encoder_reads_the_style_and_the_target_stays(styled) -> None:
    task, tokenizer, contract = styled("seq2seq", "pair", frame="eos")
    example = task.encode({**ROWS["pair"], "controls": {}}, tokenizer, contract)
    assert tokenizer.decode(example.input_ids_T) == "<|length:any|><|tone:any|>the cat<eos>"
    assert tokenizer.decode(example.labels) == "sat<eos>"


def test_users_say_the_style_by_name(styled) -> None:
    task, _, contract = styled("seq2seq", "pair", frame="eos", fields={"input": "ask"})
    asked = task.read({"ask": "the cat", "controls": {"tone": " casual"}}, contract)
    assert asked == {"input": "the cat", "controls": {"tone": "casual"}}
    assert task.read({"ask": "the cat", "tone": "formal"}, contract)["controls"] == {
        "tone": "formal"
    }
    assert "controls" not in task.read({"ask": "the cat", "tone": ""}, contract)
    for code, hint, controls in (
        ("TASK-030", "tone", {"tune": "formal"}),
        ("TASK-031", "formal", {"tone": "formall"}),
        ("TASK-032", "formal", "formal"),
    ):
        with pytest.raises(InputError, match=hint) as error:
            task.read({"ask": "the cat", "controls": controls}, contract)
        assert error.value.code == code
    plain = contract.model_copy(update={"controls": {}})
    with pytest.raises(InputError, match="TASK-030"):
        task.read({"ask": "the cat", "controls": {"tone": "formal"}}, plain)


def test_some_rows_go_without_the_same_ones_each_time() -> None:
    rows = [{"text": str(i), "controls": {"tone": "formal", "length": "long"}} for i in range(2000)]
    found = without_some(rows, 0.1, seed=1)
    for name in ("tone", "length"):
        assert 150 < sum(row["controls"][name] is None for row in found) < 250
    assert found == without_some(rows, 0.1, seed=1) != without_some(rows, 0.1, seed=2)
    assert without_some(rows, 0.0, seed=1) == rows


@pytest.mark.parametrize("limit", [64, 30])
def test_judged_answers_have_a_style_as_others_do(styled, limit: int) -> None:
    task, tokenizer, contract = styled("text-generation", "messages", max_length=limit)
    prompt = [{"role": "user", "content": "the cat on the mat"}]
    pair = {"prompt": prompt, "chosen": "sat", "rejected": "no", "controls": STYLE}
    flag = {"prompt": prompt, "completion": "sat", "flag": True, "controls": STYLE}
    examples = [
        Pairs().encode(pair, tokenizer, contract),
        Flags().encode(flag, tokenizer, contract),
        *task.scored(conversation(pair, "chosen"), tokenizer, contract),
    ]
    for example in examples:
        text = tokenizer.decode(example.input_ids_T)
        assert text.count("<|length:any|><|tone:formal|>") == 1
        assert (example.input_ids_T == examples[0].input_ids_T).all()
        assert len(example.input_ids_T) <= limit
        assert "sat" in tokenizer.decode(example.labels[example.labels != IGNORE])
    plain = {name: pair[name] for name in ("prompt", "chosen", "rejected")}
    ids_T = Pairs().encode(plain, tokenizer, contract).input_ids_T
    assert "<|length:any|><|tone:any|>" in tokenizer.decode(ids_T)
