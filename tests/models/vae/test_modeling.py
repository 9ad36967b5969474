"""The text VAE: latent Gaussian, reconstruction, sampling, interpolation, generation."""

from __future__ import annotations

import pytest
import torch

from llmwright.models.vae.modeling import kl_divergence

LM = "AutoModelForCausalLM"
CELLS = ["rnn", "lstm", "gru"]


def small(make, cell: str = "gru", **options):
    return make({"kind": "vae", "cell": cell, "latent_size": 6} | options, LM)


def framed(ids: torch.Tensor, tokenizer) -> torch.Tensor:
    """Return texts between bos and eos."""
    ids = ids.clone()
    ids[:, 0], ids[:, -1] = tokenizer.bos_token_id, tokenizer.eos_token_id
    return ids


def test_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mu, logvar = torch.randn(4, 6), torch.randn(4, 6)
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_changes_nothing(cell: str, make, random_ids, tokenizer) -> None:
    model, ids = small(make, cell), random_ids(2, 6)
    longer = torch.full((2, 10), tokenizer.pad_token_id)
    longer[:, :6] = ids
    mask = torch.zeros_like(longer)
    mask[:, :6] = 1
    with torch.no_grad():
        plain = model(input_ids=ids)
        found = model(input_ids=longer, attention_mask=mask)
    for name in ("mu", "logvar", "latent"):
        torch.testing.assert_close(getattr(found, name), getattr(plain, name))
    torch.testing.assert_close(found.logits[:, :6], plain.logits)


def test_latent_is_random_in_training_only(make, random_ids) -> None:
    model, ids = small(make), random_ids(2, 5)
    assert torch.equal(model(input_ids=ids).latent, model(input_ids=ids).mu)
    model.train()
    first, second = model(input_ids=ids), model(input_ids=ids)
    assert torch.equal(first.mu, second.mu)
    assert not torch.equal(first.latent, second.latent)


def test_decoder_sees_only_the_past_under_one_latent(make, random_ids) -> None:
    model, ids = small(make), random_ids(1, 8)
    latent = torch.randn(1, 6)
    changed = ids.clone()
    changed[:, 5:] = random_ids(1, 3, seed=7)
    with torch.no_grad():
        before = model(input_ids=ids, latent=latent).logits
        after = model(input_ids=changed, latent=latent).logits
        other = model(input_ids=ids, latent=latent + 1).logits
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before, other)


def test_loss_is_the_negative_elbo_per_token(make, random_ids) -> None:
    model, ids = small(make), random_ids(3, 7)
    with torch.no_grad():
        found = model(input_ids=ids, labels=ids)
    chances = found.logits.log_softmax(dim=-1)[:, :-1].gather(2, ids[:, 1:, None])
    bound = chances.sum() - kl_divergence(found.mu, found.logvar).sum()
    torch.testing.assert_close(found.loss, -bound / (3 * 6))


def test_word_dropout_hides_inputs_in_training_only(make, random_ids) -> None:
    model, ids = small(make, word_dropout=1.0), random_ids(1, 6)
    latent, other = torch.randn(1, 6), random_ids(1, 6, seed=5)
    with torch.no_grad():
        plain = [model(input_ids=i, latent=latent).logits for i in (ids, other)]
        model.train()
        hidden = [model(input_ids=i, latent=latent).logits for i in (ids, other)]
    assert torch.equal(hidden[0], hidden[1])
    assert not torch.allclose(plain[0], plain[1])


@pytest.mark.parametrize(
    "cell", [c if c == "gru" else pytest.param(c, marks=pytest.mark.slow) for c in CELLS]
)
def test_learns_reconstructs_and_interpolates(cell: str, make, random_ids, tokenizer) -> None:
    model = small(make, cell, word_dropout=0.5).train()
    ids = framed(random_ids(4, 7), tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    torch.manual_seed(0)
    for _ in range(250):
        found = model(input_ids=ids, labels=ids)
        # The divergence weighs little, as at the beginning of its annealing.
        loss = found.loss - 0.99 * kl_divergence(found.mu, found.logvar).sum() / (4 * 6)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    assert torch.equal(model.reconstruct(ids, max_new_tokens=12), ids)
    line = model.interpolate(ids[:1], ids[1:2], num_steps=5, max_new_tokens=6)
    assert line.shape[0] == 5
    assert torch.equal(line[0], ids[0])
    assert torch.equal(line[-1], ids[1])


def test_samples_follow_the_seed(make, tokenizer) -> None:
    model = small(make)
    first, same, other = (model.sample(8, max_new_tokens=10, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert first.shape != other.shape or not torch.equal(first, other)
    assert (first[:, 0] == tokenizer.bos_token_id).all()


@pytest.mark.parametrize("cell", CELLS)
def test_generation_carries_state_and_latent(cell: str, make, random_ids) -> None:
    model, ids, latent = small(make, cell), random_ids(2, 4), torch.randn(2, 6)
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "eos_token_id": None}
    fast = model.generate(ids, latent=latent, do_sample=False, **settings)
    slow = ids
    for _ in range(6):
        with torch.no_grad():
            following = model(input_ids=slow, latent=latent).logits[:, -1].argmax(dim=-1)
        slow = torch.cat([slow, following[:, None]], dim=1)
    assert torch.equal(fast, slow)
    default = model.generate(ids, do_sample=False, **settings)
    mean = model.generate(ids, latent=torch.zeros(2, 6), do_sample=False, **settings)
    assert torch.equal(default, mean)
    beams = model.generate(ids, latent=latent, num_beams=3, do_sample=False, **settings)
    assert beams.shape == (2, 10)
