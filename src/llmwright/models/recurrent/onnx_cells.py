"""A recurrent layer as one ONNX operator, for tracing.

Tracing torch's own cells unrolls them to the length of the example. ONNX has the operators RNN,
GRU and LSTM, which take any length; what differs is the order of the gates and the axes.

Source: https://onnx.ai/onnx/operators/, RNN, GRU and LSTM.

Shapes: B batch, T tokens, E input, H hidden, G gates (1, 3 or 4).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# For each of ONNX's gates, the place it has in torch: GRU (z, r, h) of (r, z, n), LSTM (i, o, f, c)
# of (i, f, g, o).
GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


def _reordered(weight: Tensor, gates: tuple[int, ...]) -> Tensor:
    """Return a stack of gates in ONNX's order, with its leading axis of one direction."""
    parts = weight.chunk(len(gates))
    return torch.cat([parts[place] for place in gates])[None]


def read_as_onnx(reader: nn.Module, values_BTE: Tensor, before: Any = None) -> Tensor:
    """Return what one layer of one direction says at each token, shape (B, T, H), while tracing.

    Args:
        reader: A one-layer ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM``, batch first.
        values_BTE: Its inputs.
        before: Its first state as torch takes it; zero when not given.
    """
    assert isinstance(reader, nn.RNNBase)
    operator = type(reader).__name__
    gates = GATES[operator]
    values_TBE = values_BTE.transpose(0, 1)
    weights = dict(reader.named_parameters())
    inputs = [_reordered(weights[f"{name}_l0"], gates) for name in ("weight_ih", "weight_hh")]
    biases = [_reordered(weights[f"{name}_l0"], gates) for name in ("bias_ih", "bias_hh")]
    states = () if before is None else before if isinstance(before, tuple) else (before,)
    attributes: dict[str, Any] = {"hidden_size": reader.hidden_size}
    if operator == "GRU":
        # Torch multiplies with the reset gate after the matrix product.
        attributes["linear_before_reset"] = 1
    found_T1BH = torch.onnx.ops.symbolic(
        operator,
        (
            values_TBE,
            *inputs,
            torch.cat(biases, dim=1),
            None,
            *states,
        ),
        attributes,
        dtype=values_BTE.dtype,
        shape=(values_TBE.shape[0], 1, values_TBE.shape[1], reader.hidden_size),
        version=14,
    )
    return found_T1BH[:, 0].transpose(0, 1)
