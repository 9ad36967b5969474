"""llama.cpp writes texts beside each other as it writes them alone, and reads nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.inference.conftest import make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from llmwright.core.errors import InputError, ResourceError
from llmwright.core.hardware import Memory
from llmwright.export.gguf.write import write_gguf
from llmwright.inference.engines.llamacpp import engine as llamacpp
from llmwright.inference.engines.llamacpp.engine import LlamaCppEngine
from llmwright.inference.engines.llamacpp.library import ContextSettings, library
from llmwright.inference.proof.probes import walk
from llmwright.inference.writing.generation import Writer, write_all
from llmwright.inference.writing.sampling import Settings


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_attention_heads=2, max_position_embeddings=64, **sizes
    )
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(LlamaForCausalLM(config).eval(), tokenizer, path, "bf16", lambda *_: None)
    return path


@pytest.fixture
def engine(file: Path) -> Iterator[LlamaCppEngine]:
    made = LlamaCppEngine(file, file.parent, "bf16", 4)
    yield made
    made.close()


def prompts(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(4, 300, length) for length in lengths]


def greedy(state, count: int) -> list[list[int]]:
    written = [[] for _ in state.logits_BV]
    for _ in range(count):
        chosen = state.logits_BV.argmax(axis=-1)
        for row, token in enumerate(chosen.tolist()):
            written[row].append(token)
        state.advance(chosen)
    return written


def test_texts_beside_each_other_are_what_they_are_alone(engine: LlamaCppEngine) -> None:
    texts = prompts(5, 17, 30)
    together = engine.begin(texts)
    logits = together.logits_BV.copy()
    written = greedy(together, 8)
    assert together.room_B.tolist() == [64 - 5 - 8, 64 - 17 - 8, 64 - 30 - 8]
    together.close()
    for row, prompt in enumerate(texts):
        alone = engine.begin([prompt])
        np.testing.assert_allclose(alone.logits_BV[0], logits[row], atol=2e-2)
        assert greedy(alone, 8) == [written[row]]
        alone.close()


def test_texts_come_and_go_while_others_are_written(engine: LlamaCppEngine) -> None:
    first, second, third = prompts(6, 9, 12)
    expected = []
    for prompt in (first, second, third):
        state = engine.begin([prompt])
        expected.append(greedy(state, 6)[0])
        state.close()
    state = engine.begin([first, second])
    assert greedy(state, 3) == [expected[0][:3], expected[1][:3]]
    state.keep(np.array([1]))
    state.join([third])
    assert greedy(state, 3) == [expected[1][3:], expected[2][:3]]
    state.close()
    assert not any(slot.busy for slot in engine.cache.slots)


def test_what_was_read_before_is_not_read_again(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (prompt,) = prompts(40)
    state = engine.begin([prompt])
    fresh = state.logits_BV.copy()
    state.close()
    counts: list[int] = []
    decode = engine._library.decode

    def counted(context: int, batch: object) -> int:
        counts.append(batch.n_tokens)
        return int(decode(context, batch))

    monkeypatch.setattr(engine._library, "decode", counted)
    state = engine.begin([prompt])
    assert counts == [1]
    np.testing.assert_allclose(state.logits_BV, fresh, atol=2e-2)
    state.close()
    other = np.concatenate([prompt[:25], prompts(10)[0]])
    state = engine.begin([other])
    assert counts == [1, 10]
    state.close()


def test_old_texts_are_forgotten_where_room_is_needed(engine: LlamaCppEngine) -> None:
    engine.cache.num_cells = 70
    for length in (30, 31, 32):
        engine.begin(prompts(length)).close()
    assert engine.cache.num_used <= 70
    with pytest.raises(ResourceError, match="INFER-043"):
        engine.begin(prompts(50, 49))
    assert not any(slot.busy for slot in engine.cache.slots)
    with pytest.raises(ResourceError, match="INFER-042"):
        engine.begin(prompts(1, 2, 3, 4, 5))


def test_a_decoder_gives_vectors_beside_texts(engine: LlamaCppEngine) -> None:
    (prompt,) = prompts(20)
    batch = {"input_ids": prompt[None], "attention_mask": np.ones((1, 20), dtype=np.int64)}
    before = engine.begin([prompt])
    found_TD = engine.hidden(batch)[0]
    assert found_TD.shape == (20, 64)
    # Other texts in between leave nothing behind.
    engine.hidden({**batch, "input_ids": batch["input_ids"][:, ::-1]})
    np.testing.assert_allclose(engine.hidden(batch)[0], found_TD, atol=1e-5)
    after = engine.begin([prompt])
    np.testing.assert_allclose(after.logits_BV, before.logits_BV, atol=2e-2)
    before.close()
    after.close()


def test_probes_one_after_the_other_leave_the_room_to_the_next(engine: LlamaCppEngine) -> None:
    for _ in range(3):
        walk(engine, prompts(20, 21, 22), lambda row, log_probs_V: None)
    assert not any(slot.busy for slot in engine.cache.slots)


def test_a_damaged_file_is_named(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"INFER-044.*broken\.gguf"):
        LlamaCppEngine(broken, tmp_path, "bf16")


def test_a_library_whose_settings_lie_elsewhere_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from llmwright.inference.engines.llamacpp import library as module

    places = {**ContextSettings.places, "n_batch": (4, module.c_int32, 4096)}
    monkeypatch.setattr(ContextSettings, "places", places)
    library.cache_clear()
    try:
        with pytest.raises(ResourceError, match=r"INFER-041.*n_batch"):
            library()
    finally:
        library.cache_clear()


def test_several_texts_of_a_prompt_go_on_apart(engine: LlamaCppEngine) -> None:
    short, long = prompts(5, 17)
    drawn = Settings(max_new_tokens=8, temperature=1.0, seed=3)
    alone = [write_all(engine, [long], [drawn], [place])[0] for place in range(3)]
    assert len({tuple(one.token_ids) for one in alone}) == 3
    found = write_all(engine, [long, short, long, long], [drawn] * 4, [0, 0, 1, 2])
    assert [found[0], *found[2:]] == alone


def test_where_no_slot_is_left_the_others_go_on(engine: LlamaCppEngine) -> None:
    short, long = prompts(5, 17)
    settings = Settings(max_new_tokens=8)
    (expected,) = write_all(engine, [short], [settings])
    writer = Writer(engine)
    writer.add([0], [short], [settings], [0])
    with pytest.raises(ResourceError) as caught:
        writer.add([1, 2, 3, 4], [long] * 4, [settings] * 4, [0, 1, 2, 3])
    assert caught.value.code == "INFER-042"
    written: list[int] = []
    while not writer.is_idle():
        written += [token.token_id for token in writer.step() if token.is_text]
    assert written == expected.token_ids
    assert not any(slot.busy for slot in engine.cache.slots)


def test_more_texts_than_fit_are_written_one_after_the_other(engine: LlamaCppEngine) -> None:
    asked = prompts(20, 31, 8, 40, 12, 25, 33, 5, 17, 28)
    settings = Settings(max_new_tokens=24)
    found = write_all(engine, asked, [settings] * len(asked))
    alone = [write_all(engine, [prompt], [settings])[0] for prompt in asked]
    assert [text.token_ids for text in found] == [text.token_ids for text in alone]


@pytest.mark.parametrize(
    ("free_bytes", "cells", "context"),
    [(1 << 40, 4 * 64, 64), (2 * 100 * 1024, 64, 64), (2 * 40 * 1024, 40, 40)],
)
def test_the_cache_is_as_large_as_memory_allows(
    free_bytes: int, cells: int, context: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A token of this model takes 2 layers x 2 heads x (32 + 32) numbers of 2 bytes: 512 bytes.
    monkeypatch.setattr(llamacpp, "memory", lambda: Memory(free_bytes, free_bytes // 2))
    engine = LlamaCppEngine(file, file.parent, "bf16", 4)
    try:
        assert (engine.max_tokens, engine.context) == (cells, context)
        (text,) = write_all(engine, prompts(30), [Settings(max_new_tokens=60)])
        assert len(text.token_ids) <= context - 30 + 1
    finally:
        engine.close()


def test_conversations_in_turn_keep_what_was_read_of_each(engine: LlamaCppEngine) -> None:
    first, second = prompts(20, 20)
    second[:3] = first[:3]
    for prompt in (first, second):
        engine.begin([prompt]).close()
    before = engine.prefix_cache[1]
    for prompt in (first, second):
        longer = np.concatenate([prompt, prompt[:5]])
        state = engine.begin([longer])
        alone = engine.logits({"input_ids": longer[None], "attention_mask": np.ones((1, 25))})
        assert np.allclose(state.logits_BV[0], alone[0, -1], atol=1e-4)
        state.close()
    assert engine.prefix_cache[1] - before == 40
