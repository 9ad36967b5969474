"""Files of tensors in the safetensors format, written from memory that is already laid out.

The library's own writer makes a copy of everything first, and holds Python's lock meanwhile.

Source: the format's description, https://huggingface.co/docs/safetensors: eight bytes with the
length of a JSON header, the header, and the bytes of all tensors without gaps.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FORMATS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# Large enough that a call costs nothing, small enough that others come to the disk in between.
CHUNK_BYTES = 1 << 24


class TensorFile:
    """Tensors on their way to a file.

    Args:
        tensors: By name; of a type in `FORMATS`. They must not change until they are staged, or
            written where they are not staged.

    Attributes:
        num_bytes: What all of them hold.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        # Wide types first: then every tensor begins at a multiple of its width.
        order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
        self._tensors = {name: tensors[name].detach() for name in order}
        self._staged: Tensor | None = None
        self.num_bytes = sum(tensor.nbytes for tensor in tensors.values())

    def stage(self, buffer: Tensor) -> None:
        """Copy all of them into host memory; afterwards they may change.

        Args:
            buffer: `num_bytes` of type uint8, pinned where the tensors are on a GPU.
        """
        place = 0
        for tensor in self._tensors.values():
            part = buffer[place : place + tensor.nbytes]
            place += tensor.nbytes
            if tensor.device.type == "cpu" and tensor.is_contiguous():
                # By numpy: torch would wake a team of threads beside the one that trains.
                np.copyto(part.numpy(), _bytes_of(tensor))
            else:
                part.view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)
        self._staged = buffer

    def write(self, path: Path) -> None:
        """Write the file."""
        header = self._header()
        with path.open("wb", buffering=0) as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for chunk in self._chunks():
                _write_all(file.fileno(), chunk)

    def _header(self) -> bytes:
        place, said = 0, {}
        for name, tensor in self._tensors.items():
            said[name] = {
                "dtype": FORMATS[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [place, place + tensor.nbytes],
            }
            place += tensor.nbytes
        header = json.dumps(said, separators=(",", ":")).encode()
        return header + b" " * (-len(header) % 8)

    def _chunks(self) -> Iterator[memoryview]:
        if self._staged is not None:
            yield self._staged.numpy().data
            return
        for tensor in self._tensors.values():
            yield _bytes_of(tensor.cpu().contiguous()).data


def _bytes_of(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.reshape(-1).view(torch.uint8).numpy()
    return found


def _write_all(descriptor: int, content: memoryview) -> None:
    """Write all bytes; a full disk may take a part and say so only at the next call."""
    place = 0
    while place < len(content):
        place += os.write(descriptor, content[place : place + CHUNK_BYTES])
