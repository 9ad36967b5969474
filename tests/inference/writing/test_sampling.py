"""Choosing tokens: what the settings mean, and that seeds repeat."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.core.errors import ConfigError
from llmwright.inference.writing.sampling import Sampler, Settings, log_softmax, probabilities
from llmwright.tasks.contract import Contract, Generation

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))


def contract(**values: object) -> Contract:
    base = {
        "task": "text-generation", "row_type": "text", "model_type": "x", "num_parameters": 1,
        "fields": {}, "max_length": 8, "stop_token_ids": [3],
    }  # fmt: skip
    return Contract.model_validate(base | values)


def test_greedy_takes_the_likeliest_and_the_smaller_of_equals() -> None:
    assert Sampler(Settings()).pick(np.array([0.0, 2.0, 2.0])) == 1


def test_temperature_one_samples_the_model() -> None:
    assert np.allclose(probabilities(LOGITS, Settings(temperature=1)), np.exp(LOGITS), atol=1e-6)


def test_low_temperature_sharpens() -> None:
    assert probabilities(LOGITS, Settings(temperature=0.1))[0] > 0.99


def test_top_k_keeps_k() -> None:
    chances = probabilities(LOGITS, Settings(temperature=1, top_k=2))
    assert np.allclose(chances, [0.625, 0.375, 0, 0], atol=1e-6)


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.5, 1), (0.51, 2), (0.9, 3), (1.0, 4)])
def test_top_p_keeps_the_token_that_crosses_it(top_p: float, kept: int) -> None:
    # In float64 exactly, so that 0.5 is no matter of rounding.
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    assert np.count_nonzero(probabilities(logits, Settings(temperature=1, top_p=top_p))) == kept


def test_min_p_keeps_what_is_not_far_below_the_likeliest() -> None:
    chances = probabilities(LOGITS, Settings(temperature=1, min_p=0.4))
    assert np.allclose(chances, [0.625, 0.375, 0, 0], atol=1e-6)


def test_penalties_look_at_prompt_and_text() -> None:
    logits = np.array([2.0, 1.5, 1.2, -1.0])
    repeats = Sampler(Settings(repetition_penalty=2.0), 0, np.array([0, 3]))
    # 2 / 2 and -1 * 2 for the prompt's; the text's own from the next token on.
    assert repeats._changed(logits).tolist() == [1.0, 1.5, 1.2, -2.0]
    assert [repeats.pick(logits) for _ in range(3)] == [1, 2, 0]
    counted = Sampler(Settings(frequency_penalty=0.5), 0, np.array([0, 0, 0]))
    assert [counted.pick(logits) for _ in range(6)] == [0, 0, 1, 2, 0, 1]
    present = Sampler(Settings(presence_penalty=2.0))
    assert [present.pick(logits) for _ in range(5)] == [0, 1, 2, 0, 0]
    assert logits.tolist() == [2.0, 1.5, 1.2, -1.0]


def test_bias_is_added_before_everything_else() -> None:
    sampler = Sampler(Settings(logit_bias={3: 100.0, 0: -100.0}))
    assert sampler.pick(LOGITS) == 3


def test_frequencies_follow_the_probabilities() -> None:
    sampler = Sampler(Settings(temperature=1, seed=0))
    counts = np.bincount([sampler.pick(LOGITS) for _ in range(4000)], minlength=4) / 4000
    assert np.allclose(counts, np.exp(LOGITS), atol=0.03)


def test_a_seed_repeats_and_rows_differ() -> None:
    def draw(seed: int | None, row: int) -> list[int]:
        sampler = Sampler(Settings(temperature=1, seed=seed), row)
        return [sampler.pick(LOGITS) for _ in range(30)]

    assert draw(7, 0) == draw(7, 0)
    assert draw(7, 0) != draw(7, 1)
    assert draw(7, 0) != draw(8, 0)
    assert draw(None, 0) != draw(None, 0)


def test_settings_lay_a_request_over_the_contract() -> None:
    base = contract(generation=Generation(max_new_tokens=5, temperature=0.7))
    found = Settings.of(base, top_k=3, temperature=None, seed=1)
    assert found == Settings(5, temperature=0.7, top_k=3, seed=1, stop_token_ids=frozenset([3]))


def test_settings_refuse_unknown_and_wrong_values() -> None:
    with pytest.raises(ConfigError, match='Did you mean "temperature"') as unknown:
        Settings.of(contract(), temprature=1)
    assert unknown.value.code == "CORE-040"
    with pytest.raises(ConfigError) as wrong:
        Settings.of(contract(), top_p=0)
    assert wrong.value.code == "CORE-041"


def test_log_softmax_is_exact_for_large_logits() -> None:
    found = log_softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]], dtype=np.float32))
    assert np.allclose(found, [[np.log(0.5), np.log(0.5)], [-1000, 0]])


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
def test_the_smallest_temperatures_take_the_likeliest(temperature: float) -> None:
    logits_V = np.array([1.0, 3.0, -np.inf, 2.999], dtype=np.float32)
    found = probabilities(logits_V, Settings(temperature=temperature))
    assert found.tolist() == [0.0, 1.0, 0.0, 0.0]


def test_what_decides_a_text_is_told_where_it_is_set() -> None:
    usual = Settings(seed=3).told()
    assert usual["seed"] == 3
    assert "stop" not in usual
    told = Settings(stop=("end",), logit_bias={7: 1.5}).told()
    assert (told["stop"], told["logit_bias"]) == (["end"], {"7": 1.5})
    assert {name: told[name] for name in usual if name != "seed"} == {
        name: value for name, value in usual.items() if name != "seed"
    }
