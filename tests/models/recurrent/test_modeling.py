"""Recurrent language model, classifier and tagger: what sees what, generation, learning."""

from __future__ import annotations

import pytest
import torch

CELLS = ["rnn", "lstm", "gru"]
LM = "AutoModelForCausalLM"
CLASSIFIER = "AutoModelForSequenceClassification"
TAGGER = "AutoModelForTokenClassification"


@pytest.mark.parametrize("cell", CELLS)
def test_language_model_never_sees_the_future(cell: str, make, random_ids) -> None:
    model, ids = make({"kind": "recurrent", "cell": cell}, LM), random_ids(2, 8)
    changed = ids.clone()
    changed[:, 5:] = random_ids(2, 3, seed=9)
    with torch.no_grad():
        before, after = model(input_ids=ids).logits, model(input_ids=changed).logits
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_tagger_sees_both_sides_or_one(make, random_ids) -> None:
    ids = random_ids(1, 6)
    changed = ids.clone()
    changed[:, -1] = 29 if ids[0, -1] != 29 else 28
    for both_ways in (True, False):
        model = make({"kind": "recurrent", "bidirectional": both_ways}, TAGGER)
        with torch.no_grad():
            first, second = model(input_ids=ids).logits, model(input_ids=changed).logits
        assert torch.equal(first[:, 0], second[:, 0]) is not both_ways
    default = make("recurrent", TAGGER)
    assert default.config.bidirectional


@pytest.mark.parametrize("pooling", ["max", "mean", "last", "attention"])
@pytest.mark.parametrize("orders", [(), (1, 2)])
def test_classifier_is_deaf_to_padding(pooling: str, orders, make, random_ids, tokenizer) -> None:
    options = {"kind": "recurrent", "pooling": pooling, "ngram_orders": orders}
    model, ids = make(options, CLASSIFIER, num_layers=2), random_ids(2, 6)
    longer = torch.full((2, 11), tokenizer.pad_token_id)
    longer[:, :6] = ids
    mask = torch.zeros_like(longer)
    mask[:, :6] = 1
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        found = model(input_ids=longer, attention_mask=mask).logits
    torch.testing.assert_close(found, plain)
    assert plain.shape == (2, 3)


@pytest.mark.parametrize("cell", CELLS)
def test_generation_carries_the_state(cell: str, make, random_ids) -> None:
    """Greedy generation equals feeding the whole text again for each token."""
    model, ids = make({"kind": "recurrent", "cell": cell}, LM, num_layers=2), random_ids(2, 5)
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "eos_token_id": None}
    fast = model.generate(ids, do_sample=False, **settings)
    slow = ids
    for _ in range(8):
        with torch.no_grad():
            following = model(input_ids=slow).logits[:, -1].argmax(dim=-1)
        slow = torch.cat([slow, following[:, None]], dim=1)
    assert torch.equal(fast, slow)
    assert torch.equal(model.generate(ids, do_sample=False, use_cache=False, **settings), slow)


def test_generation_in_a_padded_batch(make, random_ids, tokenizer) -> None:
    model = make({"kind": "recurrent", "cell": "lstm"}, LM)
    short, long = random_ids(1, 3), random_ids(1, 6, seed=2)
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    alone = [
        model.generate(row, attention_mask=torch.ones_like(row), **settings)[0, row.shape[1] :]
        for row in (short, long)
    ]
    padding = torch.full((1, 3), tokenizer.pad_token_id)
    ids = torch.cat([torch.cat([padding, short], dim=1), long])
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    together = model.generate(ids, attention_mask=mask, **settings)[:, 6:]
    assert torch.equal(together, torch.stack(alone))


def test_sampling_follows_the_seed_and_beams_work(make, random_ids) -> None:
    model, ids = make("recurrent", LM), random_ids(1, 4)
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "eos_token_id": None}
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model.generate(ids, do_sample=True, **settings))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    beams = model.generate(ids, num_beams=4, do_sample=False, **settings)
    greedy = model.generate(ids, do_sample=False, **settings)

    def score(row: torch.Tensor) -> float:
        with torch.no_grad():
            found = model(input_ids=row).logits.log_softmax(dim=-1)
        return found[0, 3:-1].gather(1, row[0, 4:, None]).sum().item()

    assert score(beams) >= score(greedy) - 1e-4


@pytest.mark.parametrize("tied", [False, True])
def test_language_model_learns_a_text(tied: bool, make, random_ids) -> None:
    options = {"kind": "recurrent", "tie_embeddings": tied, "embedding_size": 24}
    model, ids = make(options, LM, hidden_size=48).train(), random_ids(2, 12)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(120):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.05
    if tied:
        assert model.head.weight is model.recurrent.embedding.weight
    written = model.eval().generate(
        ids[:, :3], attention_mask=torch.ones(2, 3).long(), max_new_tokens=9, do_sample=False
    )
    assert torch.equal(written, ids)


@pytest.mark.parametrize("options", [{}, {"ngram_orders": (1, 2), "embedding_dropout": 0.1}])
def test_classifier_learns_a_batch(options: dict, make, random_ids) -> None:
    model = make({"kind": "recurrent"} | options, CLASSIFIER).train()
    ids, labels = random_ids(12, 9), torch.arange(12) % 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(model.eval()(input_ids=ids).logits.argmax(dim=-1), labels)


def test_losses_follow_the_conventions(make, random_ids) -> None:
    ids = random_ids(2, 6)
    tagger, tags = make("recurrent", TAGGER), torch.tensor([[0, 1, 2, -100, -100, -100]] * 2)
    found = tagger(input_ids=ids, labels=tags)
    chances = found.logits.log_softmax(dim=-1)[:, :3].gather(2, tags[:, :3, None])
    torch.testing.assert_close(found.loss, -chances.mean())
    model = make("recurrent", LM)
    found = model(input_ids=ids, labels=ids)
    chances = found.logits.log_softmax(dim=-1)[:, :-1].gather(2, ids[:, 1:, None])
    torch.testing.assert_close(found.loss, -chances.mean())
    classifier = make("recurrent", CLASSIFIER)
    several = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    found = classifier(input_ids=ids, labels=several)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(found.logits, several)
    torch.testing.assert_close(found.loss, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", CELLS)
def test_classifier_exports_to_onnx_for_any_length(cell: str, make, random_ids, tmp_path) -> None:
    import onnxruntime
    from transformers.exporters.configs import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    options = {"kind": "recurrent", "cell": cell, "ngram_orders": (1, 2)}
    model, ids = make(options, CLASSIFIER, num_layers=2), random_ids(2, 7)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    config = OnnxConfig(dynamic=True, dynamic_shapes=dict.fromkeys(inputs, axes))
    OnnxExporter().export(model, inputs, config).save_pretrained(tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    operators = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
    assert operators[cell].encode() in (tmp_path / "model.onnx").read_bytes()
    for rows, length in ((1, 1), (3, 12), (2, 5)):
        ids = random_ids(rows, length, seed=length)
        mask = torch.ones_like(ids)
        mask[0, (length + 1) // 2 :] = 0
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).logits
        feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        found = torch.from_numpy(session.run(None, feed)[0])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
