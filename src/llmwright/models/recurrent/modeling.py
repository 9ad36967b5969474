"""Recurrent language model, classifier and tagger in the form of transformers.

Shapes: B batch, T tokens, E embedding, D output of the stack, V vocabulary, C labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import (
    ModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from llmwright.models.recurrent.configuration import RecurrentConfig
from llmwright.models.recurrent.layers import (
    HashedNgrams,
    Pooling,
    RecurrentStack,
    State,
    TokenDropout,
)

IGNORE = -100


@dataclass
class RecurrentLMOutput(ModelOutput):
    """What the language model returns: logits_BTV, and the state after the last token."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: State | None = None


class RecurrentPreTrainedModel(PreTrainedModel):
    """What the three models share: configuration, initial weights, reading of ids."""

    config_class = RecurrentConfig
    base_model_prefix = "recurrent"
    supports_gradient_checkpointing = False
    _no_split_modules = ()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Set initial weights: orthogonal recurrences, open LSTM gates, small embeddings.

        Source: Saxe et al. 2014 (arXiv:1312.6120); Jozefowicz et al. 2015 (forget gate bias 1).
        """
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
            if module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.RNNBase):
            _init_cell(module)


def _init_cell(cell: nn.RNNBase) -> None:
    size = cell.hidden_size
    for name, weight in cell.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        elif name.startswith("weight_hh"):
            for start in range(0, weight.shape[0], size):
                nn.init.orthogonal_(weight[start : start + size])
        else:
            nn.init.zeros_(weight)
            if isinstance(cell, nn.LSTM) and name.startswith("bias_ih"):
                weight[size : 2 * size] = 1.0


class RecurrentModel(RecurrentPreTrainedModel):
    """Embedding and recurrent layers; the body of the three models below."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(
            config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id
        )
        self.token_dropout = TokenDropout(config.embedding_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.stack = RecurrentStack(
            config.embedding_size,
            config.hidden_size,
            config.num_layers,
            config.cell,
            config.bidirectional,
            config.dropout,
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.embedding = value  # type: ignore[assignment]

    def embed(self, input_ids: Tensor) -> Tensor:
        """Return the tokens' vectors after dropout, shape (B, T, E)."""
        values_BTE: Tensor = self.dropout(self.token_dropout(self.embedding(input_ids)))
        return values_BTE

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return a vector for each token, zero at padding, shape (B, T, D).

        Args:
            input_ids: Token ids, shape (B, T).
            attention_mask: 1 for real tokens, shape (B, T); all real when not given.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        found: Tensor = self.stack(self.embed(input_ids), attention_mask)
        return found


class RecurrentForCausalLM(RecurrentPreTrainedModel, GenerationMixin):
    """A language model: predicts each token from those before it; `generate` carries the state."""

    _tied_weights_keys = {"head.weight": "recurrent.embedding.weight"}
    # The state cannot be cut back to an earlier token.
    _is_stateful = True

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.recurrent = RecurrentModel(config)
        tied = config.tie_word_embeddings
        sizes = (config.output_size, config.embedding_size)
        # A tied output layer multiplies with embeddings, so the state must have their size.
        self.project = nn.Linear(*sizes) if tied and sizes[0] != sizes[1] else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(sizes[1] if tied else sizes[0], config.vocab_size, bias=False)
        self.post_init()

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
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache", True),
        }

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: State | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
    ) -> RecurrentLMOutput:
        """Return the logits of the token after each token, shape (B, T, V).

        Args:
            input_ids: Token ids, shape (B, T).
            attention_mask: 1 for real tokens, shape (B, T); all real when not given.
            labels: The same ids, -100 where no loss is wanted; moved by one here, shape (B, T).
            past_key_values: State after the tokens before these.
            use_cache: Whether to return the state; not while training.
            return_dict: Always true; accepted as transformers passes it.
        """
        if past_key_values is not None or (use_cache and not self.training):
            values = self.recurrent.embed(input_ids)
            hidden_BTD, state = self.recurrent.stack.advance(
                values, attention_mask, past_key_values
            )
        else:
            hidden_BTD, state = self.recurrent(input_ids, attention_mask), None
        logits_BTV = self.head(self.dropout(self.project(hidden_BTD)))
        loss = None if labels is None else next_token_loss(logits_BTV, labels)
        return RecurrentLMOutput(loss=loss, logits=logits_BTV, past_key_values=state)


def next_token_loss(logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
    """Return the mean cross entropy of each token given those before it, in nats."""
    return nn.functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORE
    )


class RecurrentForSequenceClassification(RecurrentPreTrainedModel):
    """A classifier: pooled states, joined with the mean of hashed n-grams where asked for."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.recurrent = RecurrentModel(config)
        self.pooling = Pooling(config.pooling, config.output_size, config.bidirectional)
        size = config.output_size
        self.ngrams: HashedNgrams | None = None
        if config.ngram_orders:
            self.ngrams = HashedNgrams(config.ngram_orders, config.ngram_buckets, config.ngram_size)
            size += config.ngram_size
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Return a logit for each label, shape (B, C).

        Args:
            input_ids: Token ids, shape (B, T).
            attention_mask: 1 for real tokens, shape (B, T); all real when not given.
            labels: Label ids, shape (B,), or 0/1 for each label, shape (B, C).
            return_dict: Always true; accepted as transformers passes it.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        pooled_BD = self.pooling(self.recurrent(input_ids, attention_mask), attention_mask)
        if self.ngrams is not None:
            pooled_BD = torch.cat([pooled_BD, self.ngrams(input_ids, attention_mask)], dim=-1)
        logits_BC = self.head(self.dropout(pooled_BD))
        loss = None
        if labels is not None and labels.dim() == 2:
            targets = labels.to(logits_BC.dtype)
            loss = nn.functional.binary_cross_entropy_with_logits(logits_BC, targets)
        elif labels is not None:
            loss = nn.functional.cross_entropy(logits_BC, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits_BC)


class RecurrentForTokenClassification(RecurrentPreTrainedModel):
    """A tagger: a label for each token, from the tokens on both sides."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.recurrent = RecurrentModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.output_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput:
        """Return a logit for each label of each token, shape (B, T, C).

        Args:
            input_ids: Token ids, shape (B, T).
            attention_mask: 1 for real tokens, shape (B, T); all real when not given.
            labels: Label ids, -100 where no loss is wanted, shape (B, T).
            return_dict: Always true; accepted as transformers passes it.
        """
        logits_BTC = self.head(self.dropout(self.recurrent(input_ids, attention_mask)))
        loss = None
        if labels is not None:
            flat = logits_BTC.flatten(0, 1)
            loss = nn.functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORE)
        return TokenClassifierOutput(loss=loss, logits=logits_BTC)
