"""Unpickling that builds arrays of numbers and nothing else.

A pickle names functions and calls them. Here every name that an array or a tensor needs is replaced by one of our own
functions, which take sizes and bytes; any other name ends the reading.
"""

import math
import pickle  # its Unpickler alone, which may name nothing but KNOWN  # noqa: TID251  # nosec B403
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError

Array = npt.NDArray[Any]
NUMBERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
TORCH_NUMBERS = {"Float": "f4", "Double": "f8", "Half": "f2", "Byte": "u1", "Char": "i1", "Short": "i2", "Int": "i4", "Long": "i8"}


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in NUMBERS:
            raise InputError(f"expected an array of numbers, got dtype '{code}'")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise InputError(f"expected a byte order, got {state[1]!r}")
        self.value = self.value.newbyteorder(state[1])


class Found:
    """Stands for ``numpy.ndarray``; ``value`` is None until its state came."""

    def __init__(self, value: Array | None = None) -> None:
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _viewed(raw, dtype, shape, "F" if fortran else "C").value


def _viewed(raw: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> Found:
    return Found(np.frombuffer(raw, dtype.value).reshape(shape, order=order))  # type: ignore[call-overload]


def _reconstruct(*_: object) -> Found:
    """Return an array that its state is to fill, of whatever size it claims to be until then."""
    return Found()


def _encode(text: str, encoding: str) -> bytes:
    """Stands for ``_codecs.encode``, by which old protocols write bytes."""
    if encoding != "latin1":
        raise InputError(f"expected bytes as latin1, got {encoding!r}")
    return text.encode("latin-1")


class Storage:
    """The numbers of a tensor, which are elsewhere in the file under ``key``."""

    def __init__(self, dtype: np.dtype[Any], key: str, size: int) -> None:
        self.dtype, self.key, self.size = dtype, key, size


class Tensor:
    """A tensor whose storage is still to be read."""

    def __init__(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> None:
        if not isinstance(storage, Storage) or not all(isinstance(number, int) for number in (offset, *size, *stride)):
            raise InputError("expected a tensor of a storage, a place in it, sizes and strides, got something else")
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def filled(self, raw: bytes, bound: int) -> Array:
        """Return the array (a view of ``raw``), checked to be inside its storage and to be of at most ``bound`` bytes."""
        flat = np.frombuffer(raw, self.storage.dtype)
        if len(self.stride) != len(self.size) or min((self.offset, *self.size, *self.stride)) < 0:
            raise InputError(f"expected sizes and strides of a tensor, got {self.size} and {self.stride}")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        count = math.prod(self.size)
        if count == 0 or last >= len(flat):
            raise InputError(f"expected a tensor {self.size} inside a storage of {len(flat)} numbers")
        require_size(count * flat.itemsize, bound)
        strides = [stride * flat.itemsize for stride in self.stride]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.size, strides, writeable=False)


def require_size(size: int, bound: int) -> None:
    """Raise InputError if ``size`` bytes are more than a release for this dataset can have."""
    if size > bound:
        raise InputError(f"expected at most {bound:,} bytes for this dataset, got {size:,}")


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


def _number(name: str) -> Callable[[], np.dtype[Any]]:
    return lambda: np.dtype(f"<{TORCH_NUMBERS[name]}")


KNOWN: dict[str, Any] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": Found,
    "_codecs.encode": _encode,
    "collections.OrderedDict": dict,
    "torch._utils._rebuild_tensor": Tensor,
    "torch._utils._rebuild_tensor_v2": Tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _viewed for core in ("core", "_core")},
    **{f"torch.{name}Storage": _number(name) for name in TORCH_NUMBERS},
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what we have for that name."""
        if f"{module}.{name}" not in KNOWN:
            raise InputError(f"expected a pickle of numbers only, got one that imports '{module}.{name}'")
        return KNOWN[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that a tensor refers to."""
        _, number, key, _, size, *_ = pid
        dtype = number()
        if not isinstance(dtype, np.dtype):
            raise InputError(f"expected a storage of numbers, got {type(dtype).__name__}")
        return Storage(dtype, str(key), int(size))


def unpickled(file: IO[bytes]) -> Any:
    """Return the next object pickled in ``file``: plain Python values, ``Found`` or ``Tensor``.

    Raises:
        InputError: it names anything else, or is not a whole pickle.
    """
    try:
        return _ArraysOnly(file).load()
    except (InputError, MemoryError):
        raise
    except Exception as error:  # the machine of a broken pickle raises nearly everything
        raise InputError(f"expected a whole pickle, got a broken one ({type(error).__name__})") from None
