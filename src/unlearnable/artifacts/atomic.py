"""Files that are written wholly or not at all, and read as they were written.

A file is written beside its final name, synced, given a sidecar with its size and SHA-256, and linked to the final name,
which fails where that name is taken. A process that is killed in between leaves a temporary file, which ``sweep`` removes: a
temporary is locked as long as its writer lives, and the kernel drops that lock with the process.
"""

import fcntl
import hashlib
import logging
import mmap
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from kedro.io import DatasetError

logger = logging.getLogger(__name__)
T = TypeVar("T")
Part = bytes | memoryview
TEMPORARIES = ".*.tmp"
LARGE = 2**29  # bytes, from which on a file is not read as a whole
PATIENCE_S = 2.0  # from the link of a sidecar to that of its file; two calls that follow each other take microseconds
NOTE = re.compile(r"# (\d+) bytes\n([0-9a-f]{64})  ([^\n]+)\n")


class DamagedError(DatasetError):
    """A file is not what was saved: a bit or its end is missing, or its sidecar is."""


class _Note(NamedTuple):
    size: int
    sha256: str


def sidecar(path: Path) -> Path:
    """Return where size and SHA-256 of ``path`` are written, in the form that ``sha256sum --check`` reads."""
    return path.with_name(f"{path.name}.sha256")


def complete(path: Path) -> bool:
    """Return whether ``path`` is a file of the size that its sidecar says; a read checks the hash as well."""
    try:
        return path.is_file() and path.stat().st_size == _note(path).size
    except (DamagedError, OSError):
        return False


def open_checked(path: Path) -> bytearray | mmap.mmap:
    """Return the bytes of ``path``; those of a large file as a private mapping, read as they are used and never all held in memory.

    Raises:
        DamagedError: they are not the ones that were saved.
    """
    expected = _note(path)
    if expected.size < LARGE:
        return bytearray(read_checked(path))
    with path.open("rb") as file:
        _require_size(path, expected, os.fstat(file.fileno()).st_size)
        _require_hash(path, expected, hashlib.file_digest(file, "sha256").hexdigest())
        return mmap.mmap(file.fileno(), expected.size, access=mmap.ACCESS_COPY)


def read_checked(path: Path) -> bytes:
    """Return the bytes of ``path``.

    Raises:
        DamagedError: they are not the ones that were saved.
    """
    expected, content = _note(path), path.read_bytes()
    _require_size(path, expected, len(content))
    _require_hash(path, expected, hashlib.sha256(content).hexdigest())
    return content


def _require_size(path: Path, expected: "_Note", size: int) -> None:
    if size != expected.size:
        raise DamagedError(f"{path}: expected {expected.size:,} bytes, as its sidecar says, got {size:,}")


def _require_hash(path: Path, expected: "_Note", got: str) -> None:
    if got != expected.sha256:
        raise DamagedError(f"{path}: expected the SHA-256 {expected.sha256[:12]}… of its sidecar, got {got[:12]}…")


def write_new(path: Path, content: bytes | Iterable[Part]) -> None:
    """Write ``content``, or its parts one after the other, to ``path`` wholly or not at all; raise FileExistsError if it exists."""
    make_folder(path.parent)
    with _staged(path, content) as (file, size, sha256):
        note = f"# {size} bytes\n{sha256}  {path.name}\n".encode()
        with _staged(sidecar(path), note) as (note_file, _, _):
            _link_both(file, note_file, path)
    _sync(path.parent)


def write_alone(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, wholly or not at all, for others to read: without a sidecar, and not synced.

    Raises:
        FileExistsError: there is a file.
    """
    make_folder(path.parent)
    descriptor, temporary = _temporary(path)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def write_over(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in place of what is there, wholly or not at all: a reader sees the old file or the new one."""
    make_folder(path.parent)
    with _staged(path, content) as (file, _, _):
        file.replace(path)


def made_once(path: Path, make: Callable[[], bytes | Iterable[Part]], read: Callable[[Path], T]) -> T:
    """Return what ``read`` says of our own copy at ``path``; where there is none, or it is damaged and set aside, it is made first."""
    try:
        if path.exists():
            return read(path)
    except DamagedError as error:
        logger.warning("a damaged copy was set aside as %s (%s)", set_aside(path), error)
    try:
        write_new(path, make())
    except FileExistsError:
        if not complete(path):  # another run that made the same was faster; its copy is ours
            raise
    return read(path)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents, each synced into the one above it."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def remove(path: Path) -> None:
    """Remove a file and its sidecar, the file first: a sidecar alone is nothing."""
    path.unlink(missing_ok=True)
    sidecar(path).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file and its sidecar, and return its new name; another process may have done so already."""
    aside = path.with_name(f"{path.name}.damaged")
    for old, new in ((path, aside), (sidecar(path), sidecar(aside))):
        with suppress(FileNotFoundError):
            old.replace(new)
    return aside


def sweep(folder: Path) -> int:
    """Remove the temporaries below ``folder`` whose writers are dead; return how many there were."""
    return sum(_removed_if_dead(path) for path in folder.rglob(TEMPORARIES))


class Hold:
    """A mark in ``folder`` that a living process works there, until ``let_go`` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        make_folder(folder)
        self._descriptor, self._path = _temporary(folder / "hold")

    def let_go(self) -> None:
        """Take the mark away."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.let_go()


def held(folder: Path) -> bool:
    """Return whether a living process has a ``Hold`` on ``folder`` or writes there; marks of dead ones are removed."""
    return not all(_removed_if_dead(path) for path in list(folder.glob(TEMPORARIES)))


def _note(path: Path) -> _Note:
    try:
        found = NOTE.fullmatch(sidecar(path).read_text(errors="replace"))
    except FileNotFoundError:
        raise DamagedError(f"{path}: expected a sidecar {sidecar(path).name} with its size and SHA-256, got none") from None
    if found is None or found[3] != path.name:
        raise DamagedError(f"{sidecar(path)}: expected the size and the SHA-256 of {path.name}, got something else")
    return _Note(int(found[1]), found[2])


@contextmanager
def _staged(path: Path, content: bytes | Iterable[Part]) -> Iterator[tuple[Path, int, str]]:
    """Write ``content`` to a temporary beside ``path``, sync it and yield it with size and SHA-256; remove it afterwards."""
    descriptor, temporary = _temporary(path)
    total = hashlib.sha256()
    try:
        for part in (content,) if isinstance(content, bytes) else content:
            total.update(part)
            rest = memoryview(part).cast("B")
            while rest:  # one call writes 2 GiB at most
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
        yield temporary, os.fstat(descriptor).st_size, total.hexdigest()
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _temporary(path: Path) -> tuple[int, Path]:
    """Return a new file beside ``path``, open and locked, and its name."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # else it was swept before it was locked
            return descriptor, temporary
        os.close(descriptor)


def _removed_if_dead(temporary: Path) -> bool:
    try:
        descriptor = os.open(temporary, os.O_WRONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _link_both(file: Path, note: Path, path: Path) -> None:
    """Link the sidecar, then the file: a file without its sidecar is never seen."""
    _link_sidecar(note, path)
    try:
        os.link(file, path)
    except OSError:
        with suppress(FileNotFoundError):
            if sidecar(path).samefile(note):
                sidecar(path).unlink()
        raise


def _link_sidecar(note: Path, path: Path) -> None:
    """Link the sidecar of ``path``; one that is there without its file was left by a kill between the two links."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return os.link(note, sidecar(path))
        except FileExistsError:
            if path.exists():
                raise
        if time.monotonic() < deadline:
            time.sleep(PATIENCE_S / 20)
        else:
            sidecar(path).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
