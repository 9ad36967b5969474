"""The teaching twins: they learn, and each formula says what it claims to say.

That their loss curves equal those of our own loop is tested beside the loop.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

LOOPS = Path(__file__).parents[2] / "examples" / "loops"


@pytest.fixture(scope="module", autouse=True)
def _on_the_path() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(LOOPS))
    yield
    sys.path.remove(str(LOOPS))
    for name in ("language_model", "lora", "dpo"):
        sys.modules.pop(name, None)
    torch.set_num_threads(threads)


def twin(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_they_are_short_and_explained_in_both_languages() -> None:
    files = sorted(LOOPS.glob("*.py"))
    assert len(files) >= 4
    for path in files:
        assert path.read_text().count("\n") < 150, path
        for readme in ("README.md", "README.zh-CN.md"):
            assert f"]({path.name})" in (LOOPS / readme).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_steps", "fall"),
    [("language_model", 40, 0.6), ("lora", 25, 0.8), ("dpo", 20, 0.6)],
)
def test_the_loss_falls_and_a_sample_is_shown(
    name: str, num_steps: int, fall: float, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = twin(name).main(num_steps=num_steps)
    assert losses[-1] < fall * losses[0]
    said = capsys.readouterr().out
    assert f"{losses[0]:.3f}" in said
    assert f"{losses[-1]:.3f}" in said
    assert {"language_model": "\n", "lora": "FIRST ", "dpo": " friendly: where is "}[name] in said


def tiny(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return twin("language_model").make_model(20, context=16)


def test_lora_begins_as_the_base_and_merges_to_base_plus_adapter() -> None:
    lora = twin("lora")
    ids = torch.randint(0, 20, (2, 8))
    base, model = tiny(), lora.add_lora(tiny(), rank=4, alpha=8)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, base(ids).logits)
        for name, weight in model.named_parameters():
            assert weight.requires_grad is name.endswith(("A_RI", "B_OR")), name
        adapters = {n: m for n, m in model.named_modules() if isinstance(m, lora.LoRALinear)}
        assert len(adapters) == 2 * len(lora.TARGETS)
        for layer in adapters.values():
            layer.B_OR.normal_()
        expected = {
            name: layer.base.weight + layer.B_OR @ layer.A_RI * 2
            for name, layer in adapters.items()
        }
        adapted = model(ids).logits
        merged = lora.merge(model)
        assert not torch.allclose(adapted, base(ids).logits, atol=0.1)
        torch.testing.assert_close(merged(ids).logits, adapted, atol=1e-4, rtol=1e-4)
    weights = merged.state_dict()
    assert weights.keys() == base.state_dict().keys()
    for name, weight in expected.items():
        torch.testing.assert_close(weights[f"{name}.weight"], weight)


def test_dpo_begins_at_ln_2_and_follows_the_formula() -> None:
    dpo = twin("dpo")
    values = [torch.tensor(numbers) for numbers in ([-3.0, -5.0], [-4.0, -4.0])]
    same = dpo.dpo_losses(*values, *values, 0.1)
    torch.testing.assert_close(same, torch.full((2,), math.log(2)))
    other = [torch.tensor([-4.0, -5.0]), torch.tensor([-3.0, -4.5])]
    found = dpo.dpo_losses(*values, *other, 0.5)
    margins = [0.5 * ((-3 + 4) - (-4 + 3)), 0.5 * ((-5 + 5) - (-4 + 4.5))]
    expected = [math.log(1 + math.exp(-margin)) for margin in margins]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_log_probs_are_of_the_answer_alone_and_deaf_to_padding() -> None:
    dpo, model = twin("dpo"), tiny().eval()
    rows = [([1, 2, 3], [4, 5]), ([6], [7, 8, 9, 10, 11])]
    arrays = [tuple(torch.tensor(part).numpy() for part in row) for row in rows]
    with torch.no_grad():
        together = dpo.answer_log_probs(model, *dpo.pad(arrays))
        for (prompt, answer), found in zip(rows, together, strict=True):
            ids = torch.tensor([prompt + answer])
            log_probs = model(ids).logits[0].log_softmax(dim=-1)
            places = range(len(prompt) - 1, ids.shape[1] - 1)
            expected = sum(log_probs[place, ids[0, place + 1]] for place in places)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
