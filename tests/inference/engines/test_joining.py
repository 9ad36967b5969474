"""A text that joins others is written as it is alone, whatever engine runs the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmwright.inference.predictor import Predictor
from llmwright.inference.writing.generation import Writer, write_all
from llmwright.inference.writing.sampling import Settings

PROMPTS = [np.array([5, 9, 30, 41]), np.array([7, 8]), np.array([11, 12, 13, 14, 15, 16, 17])]


def alone(engine: Any, settings: list[Settings]) -> list[list[int]]:
    pairs = zip(PROMPTS, settings, strict=True)
    return [write_all(engine, [prompt], [one])[0].token_ids for prompt, one in pairs]


def joining(engine: Any, settings: list[Settings], every: int) -> list[list[int]]:
    """One more text begins every few steps."""
    writer, found, waiting = Writer(engine), [[] for _ in PROMPTS], list(range(len(PROMPTS)))
    step = 0
    while waiting or not writer.is_idle():
        if waiting and step % every == 0:
            row = waiting.pop(0)
            writer.add([row], [PROMPTS[row]], [settings[row]], [0])
        for token in writer.step():
            if token.finish_reason != "stop":
                found[token.row].append(token.token_id)
        step += 1
    return found


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("name", ["decoder", "recurrent_decoder", "seq2seq"])
def test_texts_that_join_are_what_they_are_alone(name: str, every: int, saved: Any) -> None:
    engine = Predictor.open(saved(name)).engine
    settings = [
        Settings(max_new_tokens=5),
        Settings(max_new_tokens=14, temperature=1.0, seed=4),
        Settings(max_new_tokens=9),
    ]
    assert joining(engine, settings, every) == alone(engine, settings)


def test_of_a_decoder_all_go_through_the_model_together(saved: Any) -> None:
    engine = Predictor.open(saved("decoder")).engine
    writer = Writer(engine)
    for row, prompt in enumerate(PROMPTS):
        writer.add([row], [prompt], [Settings(max_new_tokens=20)], [0])
        list(writer.step())
    (group,) = writer._groups
    assert group.state.logits_BV.shape[0] == 3
    # When the longest leaves, nobody carries its length along.
    writer.drop(2)
    list(writer.step())
    assert group.state._mask_BT.shape[1] == max(len(PROMPTS[0]) + 3, len(PROMPTS[1]) + 2) + 1
    writer.close()


@pytest.mark.parametrize("name", ["decoder", "recurrent_decoder", "seq2seq", "vae"])
def test_several_texts_of_a_prompt_are_what_they_are_alone(name: str, saved: Any) -> None:
    engine = Predictor.open(saved(name)).engine
    drawn = Settings(max_new_tokens=9, temperature=1.0, seed=4)
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[0]]
    places = [0, 0, 1, 2]
    found = write_all(engine, prompts, [drawn] * 4, places)
    each = zip(prompts, places, strict=True)
    assert found == [write_all(engine, [prompt], [drawn], [place])[0] for prompt, place in each]


def test_a_prompt_is_read_once_for_all_its_texts(saved: Any) -> None:
    engine = Predictor.open(saved("decoder")).engine
    read: list[int] = []
    begin = engine.begin
    engine.begin = lambda prompts, *rest: (read.append(len(prompts)), begin(prompts, *rest))[1]
    writer = Writer(engine)
    writer.add([0], [PROMPTS[2]], [Settings(max_new_tokens=5)], [0])
    list(writer.step())
    writer.add([1, 2, 3], [PROMPTS[0]] * 3, [Settings(max_new_tokens=5)] * 3, [0, 1, 2])
    (group,) = writer._groups
    assert read == [1]
    assert group.state.logits_BV.shape[0] == 4
    rows_BV = group.state.logits_BV[1:]
    assert np.array_equal(rows_BV[0], rows_BV[1])
