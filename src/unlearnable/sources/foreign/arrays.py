"""Arrays from .npy files, pickles and torch's two formats: recognised by their first bytes, sizes checked before reading."""

import os
import stat
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from unlearnable.errors import InputError
from unlearnable.sources.foreign.pickles import Array, Found, Tensor, require_size, unpickled

TORCH_LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle of a file that torch wrote before 1.6, or when asked to
LARGEST_INDEX = 1 << 20  # bytes of the pickle that says where a tensor's numbers are


def require_file(path: Path, bound: int) -> None:
    """Raise InputError if ``path`` is no regular file, or has more than ``bound`` bytes."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"expected a file, got {'a folder' if path.is_dir() else 'something else'}")
    require_size(found.st_size, bound)


def read_array(path: Path, bound: int) -> Array:
    """Return the one array of numbers in ``path``, of at most ``bound`` bytes.

    Raises:
        InputError: there is anything else in it.
    """
    require_file(path, bound)
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        if start == b"\x93NUMPY":
            return _npy(file, path)
        if start.startswith(b"PK"):
            return _torch_zip(file, bound)
        if start.startswith(b"\x80"):
            return _pickle(file, bound)
    raise InputError(f"expected a .npy file, a pickle or a torch file, got one that starts with {start!r}")


def _npy(file: IO[bytes], path: Path) -> Array:
    try:
        major = np.lib.format.read_magic(file)[0]
        header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except MemoryError:
        raise
    except Exception as error:  # NumPy parses it as Python: tokenize and ast raise errors of their own
        raise InputError(f"expected the header of a .npy file, got a broken one ({_short(error)})") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(f"expected an array of numbers, got dtype '{dtype}'")
    expected, got = dtype.itemsize * int(np.prod(shape, dtype=object)), os.fstat(file.fileno()).st_size - file.tell()
    if expected != got or expected == 0:
        raise InputError(f"expected {expected:,} bytes for shape {shape}, got {got:,}")
    return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _pickle(file: IO[bytes], bound: int) -> Array:
    found = unpickled(file)
    if found == TORCH_LEGACY:
        return _torch_legacy(file, bound)
    if not isinstance(found, Found) or not isinstance(found.value, np.ndarray):
        raise InputError(f"expected one array in the pickle, got {_kind(found)}")
    return found.value


def _kind(found: Any) -> str:
    return "an array without numbers" if isinstance(found, Found) else f"'{type(found).__name__}'"


def _require_tensor(found: Any) -> Tensor:
    if not isinstance(found, Tensor):
        raise InputError(f"expected one tensor in the torch file, got {_kind(found)}")
    return found


def _torch_zip(file: IO[bytes], bound: int) -> Array:
    """Read ``NAME/data.pkl`` and the one storage ``NAME/data/KEY`` that it refers to; torch compresses nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name.split("/", 1)[-1]: archive.getinfo(name) for name in archive.namelist()}
            if "data.pkl" not in members:
                raise InputError("expected a torch file with data.pkl in it, got another zip")
            with archive.open(_stored(members["data.pkl"], LARGEST_INDEX)) as index:
                tensor = _require_tensor(unpickled(index))
            if "byteorder" in members and archive.read(_stored(members["byteorder"], 16)) != b"little":
                raise InputError("expected little-endian numbers, got big-endian ones")
            member = members.get(f"data/{tensor.storage.key}")
            if member is None:
                raise InputError(f"expected the storage data/{tensor.storage.key} in the torch file, got none")
            _require_storage(tensor, _stored(member, bound).file_size)
            return tensor.filled(archive.read(member), bound)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile raises nearly everything too
        raise InputError(f"expected a whole torch file, got a broken zip ({_short(error)})") from None


def _stored(member: zipfile.ZipInfo, bound: int) -> zipfile.ZipInfo:
    if member.compress_type != zipfile.ZIP_STORED:
        raise InputError(f"expected a torch file, which compresses nothing, got a compressed '{member.filename}'")
    require_size(member.file_size, bound)
    return member


def _require_storage(tensor: Tensor, got: int) -> None:
    expected = tensor.storage.size * tensor.storage.dtype.itemsize
    if got != expected or got == 0:
        raise InputError(f"expected a storage of {expected:,} bytes, got {got:,}")


def _torch_legacy(file: IO[bytes], bound: int) -> Array:
    """Read what follows the mark: protocol, system, the tensor, the keys of its storages, and the storages."""
    unpickled(file)
    system = unpickled(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("expected a torch file with little-endian numbers, got another")
    tensor = _require_tensor(unpickled(file))
    if unpickled(file) != [tensor.storage.key]:
        raise InputError("expected one storage in the torch file, got others")
    size = int.from_bytes(file.read(8), "little") * tensor.storage.dtype.itemsize
    require_size(size, bound)
    raw = file.read(size)
    _require_storage(tensor, len(raw))
    return tensor.filled(raw, bound)
