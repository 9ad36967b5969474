"""Merging: a whole model that answers like base and adapter, and proves it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmwright.compression.compress import compress
from llmwright.compression.config import CompressConfig
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, InputError
from llmwright.core.events import Notice
from llmwright.export.config import ExportConfig
from llmwright.export.export import export
from llmwright.inference.config import VerifyConfig
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.verify import verify
from llmwright.models import load

Adapted = Callable[..., Artifact]


def merge(bench: Any, model: Artifact, **settings: Any) -> Artifact:
    return compress(CompressConfig(**settings), {"model": model}, bench.run(f"c-{model.id}"))


def test_a_merged_model_answers_like_its_adapter_and_not_like_its_base(
    bench: Any, base: Artifact, adapted: Adapted
) -> None:
    model = adapted("lora", kind="lora", rank=4)
    merged = merge(bench, model)
    whole, below = load.load_model(merged.path), load.load_model(base.path)
    ids_BT = torch.arange(10).reshape(2, 5)
    logits = {
        name: each(input_ids=ids_BT).logits
        for name, each in (
            ("merged", whole),
            ("adapter", load.load_model(model.path)),
            ("base", below),
        )
    }
    assert torch.allclose(logits["merged"], logits["adapter"], atol=1e-5)
    assert not torch.allclose(logits["merged"], logits["base"], atol=1e-3)
    assert [n for n, _ in whole.named_parameters()] == [n for n, _ in below.named_parameters()]
    checks = merged.metadata["parity"]["checks"]
    assert checks["weights_changed"] == 7
    assert checks["base_difference"] > 0
    assert json.loads((merged.path / "parity.json").read_text())["passed"]
    assert verify(VerifyConfig(), {"model": merged}, bench.run("v")).metadata["passed"]


def test_a_merged_model_needs_no_base(bench: Any, adapted: Adapted, tmp_path: Path) -> None:
    merged = merge(bench, adapted("dora", kind="lora", rank=2, dora=True, rslora=True))
    alone = shutil.copytree(merged.path, tmp_path / "alone")
    predictor = Predictor.open(alone)
    assert list(predictor.predict([predictor.read("red sun")]))[0]["text"]


def test_a_whole_model_has_nothing_to_merge(bench: Any, base: Artifact) -> None:
    with pytest.raises(InputError) as caught:
        merge(bench, base)
    assert caught.value.code == "COMPRESS-001"


def test_virtual_tokens_cannot_be_merged(bench: Any, adapted: Adapted) -> None:
    model = adapted("prompt", kind="prompt_tuning", num_virtual_tokens=2)
    with pytest.raises(InputError) as caught:
        merge(bench, model)
    assert caught.value.code == "MODEL-056"
    with pytest.raises(InputError) as caught:
        export(ExportConfig(), {"model": model}, bench.run("e"))
    assert caught.value.code == "MODEL-056"


def test_a_result_outside_the_tolerance_is_not_saved(bench: Any, adapted: Adapted) -> None:
    model = adapted("strict", kind="lora", rank=3)
    with pytest.raises(CheckError) as caught:
        merge(bench, model, tolerance=1e-12)
    assert caught.value.code == "COMPRESS-002"
    assert Path(str(caught.value.values["report"])).is_file()


@pytest.mark.slow
def test_an_adapter_is_merged_on_its_way_to_an_export(bench: Any, adapted: Adapted) -> None:
    model = adapted("exported", kind="lora", rank=4, init="pissa")
    made = export(ExportConfig(), {"model": model}, bench.run("export"))
    assert made.metadata["parity"]["passed"]
    said = [event.text for event in bench.events if isinstance(event, Notice)]
    assert any("merged on the way" in sentence for sentence in said)
