"""Files of tensors in the safetensors format, made whole in memory and written past the cache.

The library's own writer makes a copy of everything first, and holds Python's lock meanwhile. And
what goes through the system's file cache costs the processor as much as training for seconds.

Source: the format's description, https://huggingface.co/docs/safetensors: eight bytes with the
length of a JSON header, the header, and the bytes of all tensors without gaps.
"""

from __future__ import annotations

import errno
import json
import mmap
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
# What goes straight to a disk begins and ends at a multiple of this, in memory and in the file.
BLOCK_BYTES = 4096
# Large enough that a call costs nothing, small enough that others come to the disk in between.
CHUNK_BYTES = 1 << 24
# Where supported: past the file cache.
DIRECT = getattr(os, "O_DIRECT", 0)


class TensorFile:
    """Tensors on their way to a file.

    Args:
        tensors: By name; of a type in `FORMATS`. They must not change until they are staged, or
            written where they are not staged.

    Attributes:
        num_bytes: What the file will hold.
        buffer_bytes: What a buffer for it must hold.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        # Wide types first: then every tensor begins at a multiple of its width.
        order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
        self._tensors = {name: tensors[name].detach() for name in order}
        self._head = _head(self._tensors)
        self._staged: np.ndarray | None = None
        self.num_bytes = len(self._head) + sum(tensor.nbytes for tensor in tensors.values())
        self.buffer_bytes = _blocks(self.num_bytes)

    def stage(self, buffer: Tensor) -> None:
        """Make the file in host memory; afterwards the tensors may change.

        Args:
            buffer: `buffer_bytes` of type uint8 that begin at a block, pinned where the tensors are
                on a GPU.
        """
        self._staged = buffer.numpy()
        place = len(self._head)
        self._staged[:place] = np.frombuffer(self._head, dtype=np.uint8)
        for tensor in self._tensors.values():
            part = buffer[place : place + tensor.nbytes]
            place += tensor.nbytes
            if tensor.device.type == "cpu" and tensor.is_contiguous():
                # By numpy: torch would wake a team of threads beside the one that trains.
                np.copyto(part.numpy(), _bytes_of(tensor))
            else:
                part.view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            OSError: The disk does not take it.
        """
        if self._staged is None:
            _write(path, self._chunks())
            return
        try:
            _write(path, iter([self._staged.data]), DIRECT)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
            _write(path, iter([self._staged.data]))  # not every file system can do it
        os.truncate(path, self.num_bytes)

    def _chunks(self) -> Iterator[memoryview]:
        yield memoryview(self._head)
        for tensor in self._tensors.values():
            yield _bytes_of(tensor.cpu().contiguous()).data


def host_buffer(num_bytes: int) -> Tensor:
    """Return host memory that begins at a block, all of it there; pinned where there is a GPU.

    Raises:
        MemoryError, OSError, RuntimeError: There is not so much.
    """
    if torch.cuda.is_available():
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
    pages = torch.frombuffer(mmap.mmap(-1, max(1, num_bytes)), dtype=torch.uint8)
    pages.numpy()[::BLOCK_BYTES] = 0  # the system gives pages out when they are first written to
    return pages


def _head(tensors: dict[str, Tensor]) -> bytes:
    """Return all that comes before the tensors; they begin at a block."""
    place, said = 0, {}
    for name, tensor in tensors.items():
        said[name] = {
            "dtype": FORMATS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + tensor.nbytes],
        }
        place += tensor.nbytes
    header = json.dumps(said, separators=(",", ":")).encode()
    header += b" " * (_blocks(8 + len(header)) - 8 - len(header))
    return struct.pack("<Q", len(header)) + header


def _blocks(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _bytes_of(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.reshape(-1).view(torch.uint8).numpy()
    return found


def _write(path: Path, chunks: Iterator[memoryview], flags: int = 0) -> None:
    """Write all bytes; a full disk may take a part and say so only at the next call."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o666)
    try:
        for chunk in chunks:
            place = 0
            while place < len(chunk):
                place += os.write(descriptor, chunk[place : place + CHUNK_BYTES])
    finally:
        os.close(descriptor)
