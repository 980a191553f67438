"""Safetensors in plain Python, for the child alone: the library cannot be refused memory, it hangs."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]
DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype(np.uint8), "I64": np.dtype(np.int64)}
ALIGNED = 8


def unpacked(content: bytes) -> Tensors:
    """Return the tensors in ``content`` as views of it; it is our own, and not checked."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: _view(content, 8 + length, **entry) for name, entry in header.items()}


def _view(content: bytes, start: int, *, dtype: str, shape: list[int], data_offsets: list[int]) -> npt.NDArray[Any]:
    kind = DTYPES[dtype]
    count = (data_offsets[1] - data_offsets[0]) // kind.itemsize
    return np.frombuffer(content, kind, count, start + data_offsets[0]).reshape(shape)


def packed(tensors: Tensors, metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """Yield the file of ``tensors`` (uint8 or int64) piece by piece, without a copy of them."""
    names = {kind: name for name, kind in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": names[tensor.dtype], "shape": tensor.shape, "data_offsets": [place, place + tensor.nbytes]}
        place += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNED)
    yield len(text).to_bytes(8, "little") + text
    yield from (np.ascontiguousarray(tensor).data for tensor in tensors.values())
