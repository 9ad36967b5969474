"""Writing texts: right against transformers' own loop, and untouched by batching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmwright.inference.predictor import Predictor
from llmwright.inference.writing.generation import generate, write_all
from llmwright.inference.writing.sampling import Settings

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]
GENERATORS = ["decoder", "seq2seq", "recurrent_decoder", "vae"]


def prompts_of(predictor: Predictor, rows: list[dict[str, Any]]) -> list[np.ndarray]:
    return [predictor.encode(row).input_ids_T for row in rows]


@pytest.mark.parametrize("name", GENERATORS)
def test_greedy_equals_transformers(name: str, saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved(name))
    prompts = prompts_of(predictor, rows_of(name))
    found = write_all(predictor.engine, prompts, [Settings(max_new_tokens=9)] * len(prompts))
    model = predictor.engine.model  # type: ignore[attr-defined]
    for prompt, output in zip(prompts, found, strict=True):
        ids = torch.from_numpy(prompt)[None]
        expected = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=9,
            do_sample=False, num_beams=1, eos_token_id=None, pad_token_id=0,
        )[0]  # fmt: skip
        written = expected[1:] if name == "seq2seq" else expected[len(prompt) :]
        assert list(output.token_ids) == written.tolist()
        assert output.finish_reason == "length"


@pytest.mark.parametrize("name", GENERATORS)
def test_batches_change_nothing(name: str, saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved(name))
    rows = rows_of(name)
    alone = [next(predictor.predict([row])) for row in rows]
    assert list(predictor.predict(rows, batch_size=len(rows))) == alone
    assert list(predictor.predict(rows, batch_size=2)) == alone


@pytest.mark.parametrize("name", ["decoder", "vae"])
def test_seeds_repeat_whatever_the_batch(name: str, saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved(name))
    rows = rows_of(name)

    def ask(seed: int, batch_size: int = 8) -> list[dict[str, Any]]:
        return list(predictor.predict(rows, batch_size, temperature=1.0, seed=seed))

    assert ask(1) == ask(1, batch_size=2)
    assert ask(1) != ask(2)


def test_a_stop_token_ends_a_text_and_others_go_on(saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved("decoder"))
    prompts = prompts_of(predictor, rows_of("decoder"))
    free = write_all(predictor.engine, prompts, [Settings(max_new_tokens=10)] * len(prompts))
    stop = free[0].token_ids[3]
    settings = [Settings(max_new_tokens=10, stop_token_ids=frozenset([stop]))] * len(prompts)
    found = write_all(predictor.engine, prompts, settings)
    for was, now in zip(free, found, strict=True):
        ids = list(was.token_ids)
        kept = ids[: ids.index(stop)] if stop in ids else ids
        assert list(now.token_ids) == kept
        assert now.finish_reason == ("stop" if stop in ids else "length")
    assert {output.finish_reason for output in found} == {"stop", "length"}


def test_texts_of_one_batch_keep_their_own_limits(saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved("decoder"))
    prompts = prompts_of(predictor, rows_of("decoder"))[:3]
    settings = [Settings(max_new_tokens=n) for n in (1, 7, 3)]
    assert [len(o.token_ids) for o in write_all(predictor.engine, prompts, settings)] == [1, 7, 3]


@pytest.mark.parametrize("name", ["decoder", "seq2seq"])
def test_the_context_ends_a_text(name: str, saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved(name))
    (prompt,) = prompts_of(predictor, rows_of(name)[:1])
    (output,) = write_all(predictor.engine, [prompt], [Settings(max_new_tokens=500)])
    # The last token is written but never read; a target begins with the start token.
    read = 1 if name == "seq2seq" else len(prompt)
    assert len(output.token_ids) + read == 64 + 1
    assert output.finish_reason == "length"


def test_tokens_come_with_the_logits_they_were_chosen_from(saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved("decoder"))
    prompts = prompts_of(predictor, rows_of("decoder"))
    for token in generate(predictor.engine, prompts, [Settings(max_new_tokens=4)] * len(prompts)):
        assert token.token_id == token.logits_V.argmax()


def test_of_a_prompt_only_the_last_place_meets_the_vocabulary(saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved("decoder"))
    shapes: list[tuple[int, ...]] = []
    head = predictor.engine.model.lm_head  # type: ignore[attr-defined]
    head.register_forward_hook(lambda module, values, found: shapes.append(tuple(found.shape)))
    state = predictor.engine.begin(prompts_of(predictor, rows_of("decoder")))
    assert shapes == [(5, 1, state.logits_BV.shape[1])]
    # Scoring still has all of them.
    list(predictor.score(rows_of("decoder")))
    assert shapes[-1][1] > 1
