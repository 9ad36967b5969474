"""What is hidden, what is asked with a mask, and how answers read."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.inference.proof.probes import MAX_PROMPT_CHARACTERS, probe_rows
from llmwright.tasks.fill_mask import mask_tokens
from llmwright.tasks.task import IGNORE, Output
from llmwright.tokenization.special import ensure_mask


@pytest.fixture
def filler(make):
    def build(**more):
        task, tokenizer, contract = make(
            "text-generation", "text", makes="fill-mask", frame="cls_sep", **more
        )
        profile = {"vocabulary_size": len(tokenizer)}
        return task, tokenizer, contract.model_copy(update={"profile": profile})

    return build


def test_tokens_are_hidden_as_bert_hides_them(filler) -> None:
    _, tokenizer, contract = filler()
    special = contract.special_tokens
    letters = [i for i in range(len(tokenizer)) if i not in special.values()]
    rng = np.random.default_rng(0)
    ids_T = np.array([special["cls"], *rng.choice(letters, 5000), special["sep"], special["pad"]])
    masked_T, labels_T = mask_tokens(ids_T, rng, contract)
    chosen_T = labels_T != IGNORE
    assert chosen_T.sum() == 750
    assert not chosen_T[[0, -1, -2]].any()
    assert (labels_T[chosen_T] == ids_T[chosen_T]).all()
    assert (masked_T[~chosen_T] == ids_T[~chosen_T]).all()
    hidden = (masked_T[chosen_T] == special["mask"]).mean()
    kept = (masked_T[chosen_T] == ids_T[chosen_T]).mean()
    assert 0.76 < hidden < 0.84
    assert 0.07 < kept < 0.14
    asked_T, _ = mask_tokens(ids_T, rng, contract, always=True)
    assert Counter(asked_T.tolist())[special["mask"]] == 750
    assert (mask_tokens(ids_T[:2], rng, contract)[1] != IGNORE).sum() == 1
    assert (mask_tokens(ids_T[:1], rng, contract)[1] == IGNORE).all()


def test_windows_hold_each_token_once_and_are_masked_alike_each_time(filler) -> None:
    task, tokenizer, contract = filler(max_length=10)
    row = {"text": "the cat sat on the mat, and the dog said"}
    windows = task.encode_parts(row, tokenizer, contract)
    assert [len(window.input_ids_T) for window in windows] == [10] * 5
    joined = "".join(tokenizer.decode(w.input_ids_T[1:-1]) for w in windows)
    assert joined == row["text"]
    assert task.encode(row, tokenizer, contract).truncated
    first, again = (task.scored(row, tokenizer, contract) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert (one.input_ids_T == other.input_ids_T).all()
        assert (one.input_ids_T[one.labels != IGNORE] == contract.special_tokens["mask"]).all()


@pytest.mark.parametrize("mask", ["[MASK]", "<mask>"])
def test_a_mask_is_read_however_it_is_written(filler, mask: str) -> None:
    task, tokenizer, contract = filler()
    cleaning = [{"kind": "html"}, {"kind": "whitespace"}]
    contract = contract.model_copy(update={"preprocessing": cleaning, "fields": {"text": "line"}})
    row = task.read({"line": f"<b>the</b>  {mask}at sat"}, contract)
    assert row == {"text": f"the {contract.mask_token}at sat"}
    example = task.encode_input(row, tokenizer, contract)
    (place,) = task.answered(example, contract)
    logits_MV = np.zeros((1, len(tokenizer)), dtype=np.float32)
    logits_MV[0, tokenizer.convert_tokens_to_ids("c")] = 9
    answer = task.answer(Output(logits=logits_MV), row, tokenizer, contract)
    assert answer["text"] == "the cat sat"
    assert answer["fills"][0][0]["token"] == "c"
    assert answer["fills"][0][0]["score"] > 0.9
    assert len(answer["fills"][0]) == 5
    assert example.input_ids_T[place] == contract.special_tokens["mask"]


def test_without_a_mask_there_is_nothing_to_answer(filler) -> None:
    task, tokenizer, contract = filler(max_length=8)
    with pytest.raises(InputError, match="TASK-020") as error:
        task.read({"text": "the cat"}, contract)
    assert "Write <mask>" in error.value.fix
    with pytest.raises(InputError, match="TASK-003"):
        task.read({"texts": "the cat"}, contract)
    with pytest.raises(InputError, match="TASK-021"):
        task.encode_input({"text": "the cat sat on <mask>"}, tokenizer, contract)


def test_probes_are_posed_with_a_mask(filler) -> None:
    task, _, contract = filler()
    assert task.posed({"text": "the cat sat here"}, contract) == {"text": "the cat <mask> here"}
    assert task.posed({"text": "今天天气好"}, contract) == {"text": "今天<mask>气好"}
    assert task.posed({"text": "x"}, contract) is None


def test_a_tokenizer_without_mask_gets_one(make) -> None:
    _, tokenizer, _ = make("text-generation", "text")
    before = len(tokenizer)
    assert ensure_mask(tokenizer)
    assert tokenizer("the <mask>")["input_ids"][-1] == tokenizer.mask_token_id == before
    assert not ensure_mask(tokenizer)


def test_a_probe_keeps_the_mask_that_it_came_with(filler) -> None:
    task, _, contract = filler()
    cleaning = contract.model_copy(update={"preprocessing": [{"kind": "html"}]})
    texts = ["the cat sat " * 40 + "on the <mask> dog", "the <mask> sat " + "on the mat " * 60]
    rows = [task.read({"text": f"<b>{text}</b>"}, cleaning) for text in texts]
    (first,), (second,) = (probe_rows([row], cleaning, 8) for row in rows)
    assert first["text"].endswith("on the <mask> dog")
    assert second["text"].startswith("the <mask> sat on")
    assert len(second["text"]) <= MAX_PROMPT_CHARACTERS
