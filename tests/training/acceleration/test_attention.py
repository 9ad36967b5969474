"""Plain attention: the same answers and gradients as the fused one, and only where it is meant."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from llmwright.training.acceleration import attention
from llmwright.training.acceleration.attention import attend, use_plain_attention

CPU = SimpleNamespace(device=torch.device("cpu"), precision="bf16")
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def llama(**values) -> LlamaModel:
    torch.manual_seed(0)
    return LlamaModel(LlamaConfig(**SIZES, num_key_value_heads=2, **values))


def bert() -> BertModel:
    torch.manual_seed(0)
    probabilities = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertModel(BertConfig(**SIZES, **probabilities), add_pooling_layer=False)


def learned(model, **inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a model's last vectors and its gradients, calculated in bf16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**inputs)[0]
    (out.float() * torch.linspace(-1, 1, out.shape[-1])).sum().backward()
    gradient = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    return out.float().detach(), gradient


@pytest.mark.parametrize("make", [llama, bert])
@pytest.mark.parametrize("masked", [False, True])
def test_it_learns_what_fused_attention_learns(make, masked: bool) -> None:
    inputs = {"input_ids": torch.arange(36).reshape(3, 12)}
    mask = torch.ones(3, 12, dtype=torch.int64)
    if masked:
        mask[1, 7:] = 0
        inputs["attention_mask"] = mask
    fused, plain = make(), make()
    exact = make()
    assert use_plain_attention(plain, CPU)
    expected, found = learned(fused, **inputs), learned(plain, **inputs)
    truth = exact(**inputs)[0].detach()
    seen = mask.bool()
    # As near to float32 as the fused one, give or take the last bit of bf16.
    errors = [(out[seen] - truth[seen]).norm() / truth[seen].norm() for out, _ in (expected, found)]
    assert errors[1] < 2 * errors[0]
    assert (found[1] - expected[1]).norm() < 0.02 * expected[1].norm()
    assert not torch.equal(found[1], expected[1])


@pytest.mark.parametrize("case", ["no gradient", "float32", "long", "one query"])
def test_elsewhere_it_is_the_fused_one(monkeypatch, case: str) -> None:
    calls = []

    def counted(*args, **kwargs):
        calls.append(case)
        return sdpa_attention_forward(*args, **kwargs)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counted)
    length = attention.LONGEST + 1 if case == "long" else 6
    query, key, value = torch.randn(3, 1, 2, length, 8, requires_grad=True)
    query = query[:, :, :1] if case == "one query" else query
    in_bf16 = torch.autocast("cpu", dtype=torch.bfloat16, enabled=case != "float32")
    with in_bf16, torch.no_grad() if case == "no gradient" else contextlib.nullcontext():
        attend(torch.nn.Module(), query, key, value, None, is_causal=True)
        assert calls == [case]
        if case == "long":
            attend(torch.nn.Module(), *(x[:, :, :9] for x in (query, key, value)), None)
            assert calls == [case]


def test_it_is_not_used_where_it_does_not_pay() -> None:
    model = llama()
    for other in ({"precision": "float32"}, {"device": torch.device("cuda")}):
        assert not use_plain_attention(model, SimpleNamespace(**{**vars(CPU), **other}))
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    assert not use_plain_attention(model, CPU)


def test_a_saved_model_knows_nothing_of_it(tmp_path) -> None:
    model = llama()
    assert use_plain_attention(model, CPU)
    model.save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text()
    assert LlamaModel.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
