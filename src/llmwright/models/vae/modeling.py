"""A text variational autoencoder in the form of transformers.

The encoder reads a text both ways and gives a Gaussian over a latent vector; the decoder is a
recurrent language model that sees the latent vector at every step.

Source: Kingma and Welling 2014 (arXiv:1312.6114); for text, Bowman et al. 2016 (arXiv:1511.06349).

Shapes: B batch, T tokens, E embedding, H hidden, L latent, V vocabulary, S interpolation steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import ModelOutput

from llmwright.models.recurrent.layers import Pooling, RecurrentStack, State
from llmwright.models.recurrent.modeling import RecurrentPreTrainedModel, next_token_loss
from llmwright.models.vae.configuration import TextVaeConfig

# Log variances beyond this overflow or stop the gradient; trained ones stay well inside.
MAX_LOG_VARIANCE = 10.0


@dataclass
class TextVaeOutput(ModelOutput):
    """What the VAE returns.

    Attributes:
        loss: Negative ELBO per predicted token, in nats, when labels were given.
        logits: Of the token after each token, shape (B, T, V).
        past_key_values: State and latent vector, for `generate`.
        mu: Mean of the latent Gaussian, shape (B, L).
        logvar: Logarithm of its variance, shape (B, L).
        latent: The vector that the decoder saw, shape (B, L).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: State | None = None
    mu: Tensor | None = None
    logvar: Tensor | None = None
    latent: Tensor | None = None


def kl_divergence(mu_BL: Tensor, logvar_BL: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, 1)) of each text and dimension, in nats, (B, L).

    Source: Kingma and Welling 2014, appendix B.
    """
    return -0.5 * (1 + logvar_BL - mu_BL.square() - logvar_BL.exp())


class TextVae(RecurrentPreTrainedModel, GenerationMixin):
    """The autoencoder: `encode`, `reconstruct`, `sample`, `interpolate`, and `generate`.

    `generate` continues a prompt under one latent vector: `latent` when given, else a random one
    when sampling, and the mean of the prior when not.
    """

    config_class = TextVaeConfig  # type: ignore[assignment]
    base_model_prefix = "vae"
    _is_stateful = True

    def __init__(self, config: TextVaeConfig) -> None:
        super().__init__(config)
        hidden, latent = config.hidden_size, config.latent_size
        size, layers = config.embedding_size, config.num_layers
        self.embedding = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = RecurrentStack(size, hidden, layers, config.cell, True, config.dropout)
        self.pooling = Pooling("last", 2 * hidden, bidirectional=True)
        self.to_mu = nn.Linear(2 * hidden, latent)
        self.to_logvar = nn.Linear(2 * hidden, latent)
        self.to_start = nn.Linear(latent, hidden * layers)
        self.decoder = RecurrentStack(
            size + latent, hidden, layers, config.cell, False, config.dropout
        )
        self.head = nn.Linear(hidden, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.embedding = value  # type: ignore[assignment]

    def get_output_embeddings(self) -> nn.Module:
        """Return the output layer."""
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the output layer."""
        self.head = new_embeddings  # type: ignore[assignment]

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Say that this model brings its own cache."""
        return False

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of each text's latent Gaussian, shapes (B, L) and (B, L).

        Args:
            input_ids: Token ids, shape (B, T).
            attention_mask: 1 for real tokens, shape (B, T); all real when not given.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        values_BTE = self.dropout(self.embedding(input_ids))
        text_BH = self.pooling(self.encoder(values_BTE, attention_mask), attention_mask)
        logvar_BL = self.to_logvar(text_BH).clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)
        return self.to_mu(text_BH), logvar_BL

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        latent: Tensor | None = None,
        past_key_values: State | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
    ) -> TextVaeOutput:
        """Return the logits of the token after each token, and the latent Gaussian.

        The latent vector is drawn from the Gaussian in training and is its mean otherwise.

        Args:
            input_ids: Token ids, shape (B, T).
            attention_mask: 1 for real tokens, shape (B, T); all real when not given.
            labels: The same ids, -100 where no loss is wanted; moved by one here, shape (B, T).
            latent: Latent vectors to decode under; the texts are not encoded then, shape (B, L).
            past_key_values: State and latent vector after the tokens before these.
            use_cache: Whether to return the state; not while training.
            return_dict: Always true; accepted as transformers passes it.
        """
        mu_BL: Tensor | None = None
        logvar_BL: Tensor | None = None
        if past_key_values is not None:
            latent = past_key_values.latent
        elif latent is None:
            mu_BL, logvar_BL = self.encode(input_ids, attention_mask)
            latent = self._draw(mu_BL, logvar_BL) if self.training else mu_BL
        assert latent is not None
        cached = past_key_values is not None or bool(use_cache and not self.training)
        logits_BTV, state = self._decode(
            input_ids, attention_mask, latent, past_key_values, cached=cached
        )
        loss = None
        if labels is not None and mu_BL is not None and logvar_BL is not None:
            # Per predicted token, as the cross entropy beside it is.
            num_tokens = (labels[:, 1:] >= 0).sum().clamp(min=1)
            divergence = kl_divergence(mu_BL, logvar_BL).sum() / num_tokens
            loss = next_token_loss(logits_BTV, labels) + divergence
        return TextVaeOutput(
            loss=loss,
            logits=logits_BTV,
            past_key_values=state,
            mu=mu_BL,
            logvar=logvar_BL,
            latent=latent,
        )

    def _draw(self, mu_BL: Tensor, logvar_BL: Tensor) -> Tensor:
        """Return a random vector of each Gaussian (the reparametrization trick)."""
        return mu_BL + torch.randn_like(mu_BL) * (0.5 * logvar_BL).exp()

    def _decode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        latent_BL: Tensor,
        past: State | None,
        *,
        cached: bool,
    ) -> tuple[Tensor, State | None]:
        if self.training and self.config.word_dropout > 0:
            hidden_BT = torch.rand(input_ids.shape, device=input_ids.device)
            input_ids = input_ids.masked_fill(
                hidden_BT < self.config.word_dropout, self.config.unk_token_id
            )
        values_BTE = self.dropout(self.embedding(input_ids))
        spread = latent_BL[:, None, :].expand(-1, input_ids.shape[1], -1)
        start = past if past is not None else self._start(latent_BL)
        joined = torch.cat([values_BTE, spread], dim=-1)
        state: State | None = None
        if cached:
            found, state = self.decoder.advance(joined, attention_mask, start)
            state.latent = latent_BL
        else:
            mask_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            found = self.decoder(joined, mask_BT, start)
        logits_BTV: Tensor = self.head(self.dropout(found))
        return logits_BTV, state

    def _start(self, latent_BL: Tensor) -> State:
        """Return the decoder's first state, made from the latent vector."""
        hidden = self.to_start(latent_BL).tanh().chunk(self.config.num_layers, dim=-1)
        is_lstm = self.config.cell == "lstm"
        layers: list[tuple[Tensor, ...]] = []
        for part in hidden:
            state_1BH = part[None].contiguous()
            layers.append((state_1BH, torch.zeros_like(state_1BH)) if is_lstm else (state_1BH,))
        return State(layers, 0, latent_BL)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: State | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the next call's arguments: with a state, only the newest token is read."""
        mask = kwargs.get("attention_mask")
        if past_key_values is not None:
            input_ids, mask = input_ids[:, past_key_values.num_tokens :], None
        return {
            "input_ids": input_ids,
            "attention_mask": mask,
            "latent": kwargs.get("latent"),
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache", True),
        }

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Continue prompts as every model of transformers does, under one latent vector each.

        Args:
            inputs: Prompts, shape (B, T); `input_ids` does as well; `bos` alone when not given.
            **kwargs: `latent`, shape (B, L), and what `GenerationMixin.generate` takes.
        """
        ids = inputs if inputs is not None else kwargs.pop("input_ids", None)
        if ids is None:
            ids = self._beginnings(1)
        if kwargs.get("latent") is None:
            settings = kwargs.get("generation_config") or self.generation_config
            random = kwargs.get("do_sample", settings.do_sample)
            latent = torch.zeros(ids.shape[0], self.config.latent_size, device=self.device)
            kwargs["latent"] = latent.normal_() if random else latent
        return super().generate(ids, **kwargs)

    def _beginnings(self, count: int) -> Tensor:
        return torch.full((count, 1), self.config.bos_token_id, device=self.device)

    @torch.no_grad()
    def reconstruct(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, max_new_tokens: int = 64
    ) -> Tensor:
        """Return what the decoder writes, greedily, under each text's mean latent vector.

        Args:
            input_ids: Texts, shape (B, T).
            attention_mask: 1 for real tokens, shape (B, T); all real when not given.
            max_new_tokens: Most tokens to write.

        Returns:
            Ids that begin with `bos`, padded on the right.
        """
        mu_BL, _ = self.encode(input_ids, attention_mask)
        return self._write(mu_BL, max_new_tokens)

    @torch.no_grad()
    def sample(
        self, count: int, *, max_new_tokens: int = 64, seed: int | None = None, **kwargs: Any
    ) -> Tensor:
        """Return new texts under random latent vectors.

        Args:
            count: How many texts.
            max_new_tokens: Most tokens of each.
            seed: For the latent vectors; random when not given.
            **kwargs: Sampling of the tokens (`do_sample`, `temperature` …); greedy when not given.

        Returns:
            Ids that begin with `bos`, padded on the right.
        """
        generator = torch.Generator()
        if seed is not None:
            generator.manual_seed(seed)
        else:
            generator.seed()
        latent = torch.randn(count, self.config.latent_size, generator=generator)
        return self._write(latent.to(self.device), max_new_tokens, **kwargs)

    @torch.no_grad()
    def interpolate(
        self, first: Tensor, second: Tensor, num_steps: int = 7, max_new_tokens: int = 64
    ) -> Tensor:
        """Return texts on the straight line between two texts' latent vectors, ends included.

        Args:
            first: Ids of a text, shape (1, T).
            second: Ids of another, shape (1, U).
            num_steps: S, how many texts, at least 2.
            max_new_tokens: Most tokens of each.

        Returns:
            Ids that begin with `bos`, padded on the right, S rows.
        """
        start_1L, end_1L = self.encode(first)[0], self.encode(second)[0]
        share_S1 = torch.linspace(0, 1, num_steps, device=self.device)[:, None]
        return self._write(start_1L + share_S1 * (end_1L - start_1L), max_new_tokens)

    def _write(self, latent_BL: Tensor, max_new_tokens: int, **kwargs: Any) -> Tensor:
        kwargs.setdefault("do_sample", False)
        ids = self._beginnings(latent_BL.shape[0])
        written: Tensor = self.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            latent=latent_BL,
            max_new_tokens=max_new_tokens,
            **kwargs,
        )
        return written
