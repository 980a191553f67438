"""Files of safetensors, written part by part and read as views of their bytes.

The library writes and reads whole files in memory, and image sets may be larger. In the child that reads files of others, whose memory is
limited, it hangs where it is refused some. Nothing here is checked beyond what NumPy checks: what is read is our own.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

Header = dict[str, str]
Content = bytes | bytearray | mmap
NAMES = {"float32": "F32", "int64": "I64", "uint8": "U8"}  # of types, in the format
TYPES = {name: np.dtype(kind) for kind, name in NAMES.items()}
PART_BYTES = 2**26  # that are copied at once


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An array that comes in parts, along its first axis."""

    shape: tuple[int, ...]
    dtype: str
    parts: Iterable[npt.NDArray[Any]]


def packed(tensors: Mapping[str, "npt.NDArray[Any] | Stream"], about: Header) -> Iterator[bytes | memoryview]:
    """Yield the parts of a safetensors file; larger numbers come first, so that all are aligned."""
    streams = {name: value if isinstance(value, Stream) else _streamed(value) for name, value in tensors.items()}
    order = sorted(streams, key=lambda name: (-np.dtype(streams[name].dtype).itemsize, name))
    described: dict[str, Any] = {"__metadata__": about}
    end = 0
    for name in order:
        shape, dtype = streams[name].shape, streams[name].dtype
        start, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        described[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        yield from (np.ascontiguousarray(part).data for part in streams[name].parts)


def _streamed(array: npt.NDArray[Any]) -> Stream:
    """Return an array in parts: where it is mapped, they are read one by one."""
    rows = max(1, PART_BYTES * len(array) // max(1, array.nbytes)) if array.ndim else 1
    parts = (array[start : start + rows] for start in range(0, len(array), rows))
    return Stream(shape=array.shape, dtype=array.dtype.name, parts=parts)


def unpacked(content: Content) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a safetensors file; of a mapped one they are read as they are used."""
    length = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + length])
    found = {}
    for name, about in described.items():
        if name != "__metadata__":
            shape, dtype = tuple(about["shape"]), TYPES[about["dtype"]]
            flat = np.frombuffer(content, dtype, count=math.prod(shape), offset=8 + length + about["data_offsets"][0])
            found[name] = flat.reshape(shape)
    return found


def header(content: Content) -> Header:
    """Return the metadata of a safetensors file; raise ValueError if there is none."""
    length = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + length])
    about = found.get("__metadata__") if isinstance(found, dict) else None
    if not isinstance(about, dict):
        raise ValueError("expected a header with metadata, got none")
    return about
