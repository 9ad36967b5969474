"""Several adapters over one base answer as each of them does when it is opened alone."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.inference.conftest import build

from llmwright.core.errors import ConfigError, InputError
from llmwright.inference.predictor import Predictor
from llmwright.inference.writing.generation import Writer, write_all
from llmwright.inference.writing.sampling import Settings
from llmwright.models.adapters.attached import Attached, own_weights
from llmwright.models.adapters.base import Base, weights_sha256
from llmwright.models.adapters.lora import add_lora, settings_for
from llmwright.models.adapters.put import save_adapter
from llmwright.models.load import load_model
from llmwright.tasks.contract import Contract

PROMPTS = [np.array([5, 9, 30, 41]), np.array([7, 8]), np.array([11, 12, 13, 14, 15, 16, 17])]
OPTIONS = {
    "plain": {},
    "scaled": {"use_rslora": True, "lora_alpha": 12},
    "directed": {"use_dora": True},
}


def make_adapter(base: Path, folder: Path, seed: int, whole: list[str], **options: Any) -> Path:
    """Save an adapter with random weights over a base."""
    model = load_model(base)
    values = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "use_rslora": False, "use_dora": False}
    targets = [n for n, m in model.named_modules() if n.endswith(("q_proj", "query", "down_proj"))]
    settings = settings_for(model, targets, whole, **{**values, **options})
    found = Base("folder", str(base), None, weights_sha256(base))
    add_lora(model, Attached(settings, found))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in own_weights(model).items():
            if "magnitude" in name:
                weight.mul_(1 + torch.rand_like(weight))
            else:
                weight.copy_(torch.randn_like(weight) * 0.3)
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    save_adapter(model, folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("decoder", tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def adapters(base: Path) -> dict[str, Path]:
    return {
        name: make_adapter(base, base.parent / name, seed, [], **options)
        for seed, (name, options) in enumerate(OPTIONS.items())
    }


@pytest.fixture
def predictor(base: Path, adapters: dict[str, Path]) -> Predictor:
    made = Predictor.open(base)
    for name, folder in adapters.items():
        made.engine.load_adapter(name, folder)
    return made


def batch() -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(4, 300, (4, 9))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def test_each_row_goes_through_its_own_adapter(
    predictor: Predictor, adapters: dict[str, Path]
) -> None:
    names = [*adapters, None]
    together = predictor.engine.logits(batch(), names)
    plain = predictor.engine.logits(batch())
    for row, name in enumerate(names):
        alone = plain if name is None else Predictor.open(adapters[name]).engine.logits(batch())
        np.testing.assert_allclose(together[row], alone[row], atol=1e-5)
        if name is not None:
            assert np.abs(alone[row] - plain[row]).max() > 0.1
            np.testing.assert_allclose(
                predictor.engine.logits(batch(), [name] * 4), alone, atol=1e-5
            )
    np.testing.assert_array_equal(predictor.engine.logits(batch()), plain)


def test_texts_of_different_adapters_are_written_together(
    predictor: Predictor, adapters: dict[str, Path]
) -> None:
    names = ["plain", None, "directed"]
    lengths = [5, 12, 9]
    writer, found = Writer(predictor.engine), [[], [], []]
    for row, (name, length) in enumerate(zip(names, lengths, strict=True)):
        writer.add([row], [PROMPTS[row]], [Settings(length, adapter=name)], [0])
        for token in writer.step():
            found[token.row].append(token.token_id)
    assert len(writer._groups) == 1
    while not writer.is_idle():
        for token in writer.step():
            found[token.row].append(token.token_id)
    for row, (name, length) in enumerate(zip(names, lengths, strict=True)):
        engine = (Predictor.open(adapters[name]) if name else predictor).engine
        alone = write_all(engine, [PROMPTS[row]], [Settings(length)])[0].token_ids
        assert found[row][: len(alone)] == alone


def test_a_predictor_for_each_adapter_shares_the_model(
    base: Path, adapters: dict[str, Path], rows_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    whole = Predictor.open(base)
    rows = rows_of("decoder")
    before = list(whole.predict(rows))
    own = whole.with_adapter("mine", adapters["plain"])
    alone = Predictor.open(adapters["plain"])
    assert list(own.predict(rows)) == list(alone.predict(rows)) != before
    pairs = zip(own.score(rows), alone.score(rows), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one.log_probs_U, other.log_probs_U, atol=1e-5)
    assert list(whole.predict(rows)) == before
    assert own.engine is whole.engine
    assert own.name == "plain"
    own.close()
    own.close()
    assert whole.engine.adapters == ()
    assert list(whole.predict(rows)) == before


def test_heads_that_adapters_brought_answer_for_their_rows(tmp_path: Path) -> None:
    base = build("classifier", tmp_path / "base")
    folder = make_adapter(base, tmp_path / "one", 3, ["classifier"])
    engine, alone = Predictor.open(base).engine, Predictor.open(folder).engine
    engine.load_adapter("one", folder)
    plain, own = engine.logits(batch()), alone.logits(batch())
    assert np.abs(plain - own).max() > 0.1
    mixed = engine.logits(batch(), ["one", None, "one", None])
    np.testing.assert_allclose(mixed[::2], own[::2], atol=1e-5)
    np.testing.assert_allclose(mixed[1::2], plain[1::2], atol=1e-5)


def test_an_embedding_that_also_writes_changes_in_both_places(tmp_path: Path) -> None:
    base = build("decoder", tmp_path / "first")
    model = load_model(base)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(base)
    folder = make_adapter(base, tmp_path / "one", 3, ["model.embed_tokens"])
    engine = Predictor.open(base).engine
    engine.load_adapter("one", folder)
    own = Predictor.open(folder).engine.logits(batch())
    mixed = engine.logits(batch(), ["one", None, None, "one"])
    np.testing.assert_allclose(mixed[[0, 3]], own[[0, 3]], atol=1e-4)


def test_one_that_is_unloaded_goes_on_where_it_is_used(
    predictor: Predictor, adapters: dict[str, Path]
) -> None:
    engine = predictor.engine
    expected = write_all(engine, [PROMPTS[0]], [Settings(8, adapter="plain")])[0].token_ids
    writer, found = Writer(engine), []
    writer.add([0], [PROMPTS[0]], [Settings(8, adapter="plain")], [0])
    kept = weakref.ref(engine._adapters._named["plain"])
    engine.unload_adapter("plain")
    while not writer.is_idle():
        found += [token.token_id for token in writer.step()]
    assert found[: len(expected)] == expected
    gc.collect()
    assert kept() is None
    with pytest.raises(ConfigError, match="INFER-051"):
        writer.add([0], [PROMPTS[0]], [Settings(8, adapter="plain")], [0])
    with pytest.raises(ConfigError, match="INFER-051"):
        engine.unload_adapter("plain")


def test_what_cannot_be_loaded_is_refused(
    predictor: Predictor, adapters: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    engine = predictor.engine
    with pytest.raises(InputError, match="MODEL-058"):
        engine.load_adapter("base", base)
    with pytest.raises(InputError, match="MODEL-059"):
        Predictor.open(adapters["plain"]).engine.load_adapter("two", adapters["scaled"])
    other = build("decoder", tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="MODEL-052"):
        Predictor.open(other).engine.load_adapter("plain", adapters["plain"])
    broken = shutil.copytree(adapters["plain"], tmp_path / "broken")
    weights = broken / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:900])
    with pytest.raises(InputError, match="MODEL-050"):
        engine.load_adapter("broken", broken)
    assert "broken" not in engine.adapters
    assert Contract.open(base).task == "text-generation"


def test_closing_frees_the_weights(base: Path) -> None:
    predictor = Predictor.open(base)
    weight = weakref.ref(predictor.engine.model.lm_head.weight.untyped_storage())
    predictor.close()
    predictor.close()
    gc.collect()
    assert weight() is None
