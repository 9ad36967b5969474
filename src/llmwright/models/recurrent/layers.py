"""Recurrent layers that padding cannot change, pooling, and hashed n-grams.

Shapes: B batch, T tokens, E embedding, H hidden of one direction, D all directions (H or 2H).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from llmwright.models.recurrent.onnx_cells import read_as_onnx

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

# Multiplier of the rolling hash; any odd number that spreads neighbouring ids will do.
HASH_FACTOR = 31337


class State:
    """The memory of a recurrent network after some tokens: what `generate` carries along.

    Args:
        layers: For each layer the hidden state, and for an LSTM the cell state, each ``(1, B, H)``.
        num_tokens: Tokens read so far.
        latent: Vector that conditions the whole text, ``(B, L)``; VAE only.
    """

    def __init__(
        self, layers: list[tuple[Tensor, ...]], num_tokens: int, latent: Tensor | None = None
    ) -> None:
        self.layers = layers
        self.num_tokens = num_tokens
        self.latent = latent

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens were read."""
        return self.num_tokens

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put rows in another order, as beam search asks for."""
        self.layers = [tuple(part[:, beam_idx] for part in layer) for layer in self.layers]
        if self.latent is not None:
            self.latent = self.latent[beam_idx]


def alignment(mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return gather indices that bring each row's real tokens to the front, forwards and backwards.

    The real tokens of a row are one block; padding may be on either side. A network that reads the
    aligned row meets padding only after the last real token, so padding cannot change what it says
    about real ones. Unlike packed sequences this is made of plain tensor operations, so it exports.

    Returns:
        ``front_BT`` and ``back_BT``, which take row → aligned in reading order and reversed;
        ``from_front_BT`` and ``from_back_BT``, which take the results back to the tokens' places.
    """
    mask_BT = mask_BT.long()
    last = mask_BT.shape[1] - 1
    place_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device)[None, :]
    start_B1 = mask_BT.argmax(dim=1, keepdim=True)
    end_B1 = start_B1 + mask_BT.sum(dim=1, keepdim=True) - 1
    front_BT = (place_BT + start_B1).clamp(0, last)
    back_BT = (end_B1 - place_BT).clamp(0, last)
    from_front_BT = (place_BT - start_B1).clamp(0, last)
    from_back_BT = (end_B1 - place_BT).clamp(0, last)
    return front_BT, back_BT, from_front_BT, from_back_BT


def read(reader: nn.Module, values_BTE: Tensor, before: Any = None) -> Tensor:
    """Return what one layer says at each token, shape (B, T, H)."""
    if torch.compiler.is_exporting():
        return read_as_onnx(reader, values_BTE, before)
    found: Tensor = reader(values_BTE, before)[0]
    return found


def take(values_BTE: Tensor, places_BT: Tensor) -> Tensor:
    """Return the vectors at these places of each row, shape (B, T, E)."""
    return values_BTE.gather(1, places_BT[:, :, None].expand(-1, -1, values_BTE.shape[2]))


class RecurrentStack(nn.Module):
    """Recurrent layers in one direction or two; the result does not depend on padding.

    Args:
        input_size: E.
        hidden_size: H.
        num_layers: Layers.
        cell: A key of ``CELLS``.
        bidirectional: Whether each layer also reads from the end.
        dropout: Share of values dropped between layers.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        cell: str,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        directions = 2 if bidirectional else 1
        sizes = [input_size] + [hidden_size * directions] * (num_layers - 1)
        self.bidirectional = bidirectional
        self.forwards = nn.ModuleList(CELLS[cell](s, hidden_size, batch_first=True) for s in sizes)
        readers = sizes if bidirectional else []
        self.backwards = nn.ModuleList(
            CELLS[cell](s, hidden_size, batch_first=True) for s in readers
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values_BTE: Tensor, mask_BT: Tensor, start: State | None = None) -> Tensor:
        """Return a vector for each token, zero at padding, shape (B, T, D).

        Args:
            values_BTE: Vectors of the tokens.
            mask_BT: 1 for real tokens.
            start: State before the first token, for reading forwards; zero when not given.
        """
        front, back, from_front, from_back = alignment(mask_BT)
        keep_BT1 = mask_BT[:, :, None].to(values_BTE.dtype)
        for index, reader in enumerate(self.forwards):
            before = None if start is None else _as_hidden(start.layers[index])
            if index:
                values_BTE = self.dropout(values_BTE)
            found = take(read(reader, take(values_BTE, front), before), from_front)
            if self.bidirectional:
                reversed_BTH = read(self.backwards[index], take(values_BTE, back))
                found = torch.cat([found, take(reversed_BTH, from_back)], dim=-1)
            values_BTE = found * keep_BT1
        return values_BTE

    def advance(
        self, values_BTE: Tensor, mask_BT: Tensor | None, state: State | None
    ) -> tuple[Tensor, State]:
        """Read more tokens in one direction, from a state, and return also the state after them.

        Args:
            values_BTE: Vectors of the new tokens.
            mask_BT: Which of them are real; all when not given.
            state: State before them; zero when not given.

        Returns:
            A vector for each new token, shape (B, T, H), and the state after the last real one.
        """
        lengths = None if mask_BT is None else mask_BT.sum(dim=1)
        if lengths is not None and bool((lengths == mask_BT.shape[1]).all()):  # type: ignore[union-attr]
            lengths = None
        front = from_front = None
        if lengths is not None:
            assert mask_BT is not None
            front, _, from_front, _ = alignment(mask_BT)
        layers: list[tuple[Tensor, ...]] = []
        for index, reader in enumerate(self.forwards):
            before = None if state is None else state.layers[index]
            if index:
                values_BTE = self.dropout(values_BTE)
            if front is None or from_front is None or lengths is None:
                found, after = reader(values_BTE, _as_hidden(before))
            else:
                found, after = _read_packed(reader, take(values_BTE, front), lengths, before)
                found = take(found, from_front)
            layers.append(after if isinstance(after, tuple) else (after,))
            values_BTE = found
        seen = 0 if state is None else state.num_tokens
        return values_BTE, State(layers, seen + values_BTE.shape[1])


def _as_hidden(before: tuple[Tensor, ...] | None) -> Any:
    """Return a layer's state as torch's cells take it: a pair for an LSTM, else one tensor."""
    return before[0] if before is not None and len(before) == 1 else before


def _read_packed(
    reader: nn.Module, values_BTE: Tensor, lengths_B: Tensor, before: tuple[Tensor, ...] | None
) -> tuple[Tensor, Any]:
    """Read rows of different lengths; the state after each row's own last token comes back."""
    packed = pack_padded_sequence(
        values_BTE, lengths_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
    )
    found, after = reader(packed, _as_hidden(before))
    unpacked, _ = pad_packed_sequence(found, batch_first=True, total_length=values_BTE.shape[1])
    return unpacked, after


class TokenDropout(nn.Module):
    """Leave out whole tokens in training: their vectors become zero, the others grow to match.

    Args:
        share: Probability that a token is left out, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values_BTE: Tensor) -> Tensor:
        """Return the vectors with some left out, shape (B, T, E)."""
        if not self.training or self.share == 0:
            return values_BTE
        keep_BT1 = torch.rand_like(values_BTE[:, :, :1]) >= self.share
        return values_BTE * keep_BT1 / (1 - self.share)


class Pooling(nn.Module):
    """One vector from the vectors of the real tokens.

    Args:
        kind: ``max``, ``mean``, ``last`` (last token forwards, first token backwards) or
            ``attention`` (a learned weighting).
        size: D.
        bidirectional: Whether the second half of D was read from the end.
    """

    def __init__(self, kind: str, size: int, bidirectional: bool) -> None:
        super().__init__()
        self.kind = kind
        self.bidirectional = bidirectional
        self.score = nn.Linear(size, 1) if kind == "attention" else None

    def forward(self, values_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Return one vector per row, shape (B, D); zero for a row without real tokens."""
        keep_BT1 = mask_BT[:, :, None].to(values_BTD.dtype)
        lowest = torch.finfo(values_BTD.dtype).min
        if self.kind == "max":
            top_BD = (values_BTD * keep_BT1 + (1 - keep_BT1) * lowest).amax(dim=1)
            return top_BD * keep_BT1.amax(dim=1)
        if self.kind == "mean":
            return (values_BTD * keep_BT1).sum(dim=1) / keep_BT1.sum(dim=1).clamp(min=1)
        if self.score is not None:
            score_BT1 = self.score(values_BTD) * keep_BT1 + (1 - keep_BT1) * lowest
            return (values_BTD * score_BT1.softmax(dim=1) * keep_BT1).sum(dim=1)
        return self._last(values_BTD, mask_BT)

    def _last(self, values_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        mask_BT = mask_BT.long()
        first_B1 = mask_BT.argmax(dim=1, keepdim=True)
        last_B1 = (first_B1 + mask_BT.sum(dim=1, keepdim=True) - 1).clamp(min=0)
        last_BD = take(values_BTD, last_B1)[:, 0]
        if not self.bidirectional:
            return last_BD
        half = values_BTD.shape[2] // 2
        first_BD = take(values_BTD, first_B1)[:, 0]
        return torch.cat([last_BD[:, :half], first_BD[:, half:]], dim=-1)


class HashedNgrams(nn.Module):
    """The mean vector of a text's token n-grams, each hashed to a row of one table.

    Source: Joulin et al. 2017 (arXiv:1607.01759), section 2.1.

    Args:
        orders: Lengths of the n-grams, as in ``(1, 2)``.
        buckets: Rows of the table.
        size: Size of a vector.
    """

    def __init__(self, orders: list[int], buckets: int, size: int) -> None:
        super().__init__()
        self.orders = orders
        self.buckets = buckets
        self.table = nn.Embedding(buckets, size)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the mean over all n-grams without padding, all orders together, shape (B, E)."""
        total: Tensor | None = None
        count: Tensor | None = None
        for order in self.orders:
            hash_BT, valid_BT1 = self._hash(ids_BT, mask_BT, order)
            sum_BE = (self.table(hash_BT) * valid_BT1).sum(dim=1)
            num_B1 = valid_BT1.sum(dim=1)
            total = sum_BE if total is None else total + sum_BE
            count = num_B1 if count is None else count + num_B1
        assert total is not None
        assert count is not None
        return total / count.clamp(min=1)

    def _hash(self, ids_BT: Tensor, mask_BT: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """Return the bucket of the n-gram that starts at each token, and which lie in the text."""
        length = ids_BT.shape[1]
        # Room for the windows that begin near the end; their mask makes them void.
        ids = nn.functional.pad(ids_BT, (0, order - 1))
        mask = nn.functional.pad(mask_BT, (0, order - 1))
        hash_BT = torch.full_like(ids_BT, order)
        valid_BT = torch.ones_like(mask_BT)
        for shift in range(order):
            # Reduced at every step, so that no product leaves 64 bits.
            step_BT = ids[:, shift : shift + length] + 1
            hash_BT = (hash_BT * HASH_FACTOR + step_BT) % self.buckets
            valid_BT = valid_BT * mask[:, shift : shift + length]
        return hash_BT, valid_BT[:, :, None].to(self.table.weight.dtype)
