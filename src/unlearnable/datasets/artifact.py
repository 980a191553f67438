"""The base of every dataset class that writes: a save is all or nothing, and a load sees what was saved.

A file is written beside its final name, synced, given a sidecar with its SHA-256, and linked to the final name, which
fails where that name is taken. Whoever is killed in between leaves a temporary file and no version.
"""

import hashlib
import os
import secrets
from abc import abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version

In = TypeVar("In")
Out = TypeVar("Out")

# Kedro's version is a time stamp of a millisecond, which two runs can share; this tells their artifacts apart.
PROCESS = secrets.token_hex(3)


def sidecar(path: Path) -> Path:
    """Return where the SHA-256 of ``path`` is written, in the form that ``sha256sum --check`` reads."""
    return path.with_name(f"{path.name}.sha256")


def complete(path: str | Path) -> bool:
    """Return whether ``path`` was written to its end; a load checks its hash as well."""
    return Path(path).is_file() and sidecar(Path(path)).is_file()


def write_new(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` wholly or not at all; raise FileExistsError where it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        _write_synced(temporary, content)
        _write_synced(sidecar(temporary), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())
        _link_both(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        sidecar(temporary).unlink(missing_ok=True)
    _sync(path.parent)


def _link_both(temporary: Path, path: Path) -> None:
    """Link the sidecar, then the file: a file without its sidecar is never seen."""
    os.link(sidecar(temporary), sidecar(path))
    try:
        os.link(temporary, path)
    except OSError:
        sidecar(path).unlink()
        raise


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checked(path: Path) -> bytes:
    """Return the bytes of ``path``.

    Raises:
        DatasetError: where they are not the ones that were saved.
    """
    content = path.read_bytes()
    said, got = sidecar(path).read_text(errors="replace").split(), hashlib.sha256(content).hexdigest()
    expected = said[0] if said else "nothing"
    if got != expected:
        raise DatasetError(f"{path}: expected the SHA-256 {expected[:12]}… of its sidecar, got {got[:12]}…")
    return content


class Artifact(AbstractVersionedDataset[In, Out]):
    """One file a version, of which the subclass says how it is encoded.

    Args:
        filepath: where; Kedro puts the version between its last two parts.
        recipe: the hash of the recipe that made it, kept in the file and compared when it is loaded.
        version: Kedro's.
        metadata: for kedro-viz.
    """

    def __init__(self, *, filepath: str, recipe: str, version: Version | None = None, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(PurePosixPath(filepath), version, exists_function=complete)
        self.recipe = recipe
        self.metadata = metadata

    @abstractmethod
    def encode(self, data: In) -> bytes:
        """Return the bytes of ``data`` with the recipe."""

    @abstractmethod
    def decode(self, content: bytes) -> tuple[Out, str | None]:
        """Return what ``encode`` was given, and the recipe found in it."""

    def load(self) -> Out:
        """Return the newest version, or the one asked for; raise DatasetError where it is damaged or of another recipe."""
        return self.read(Path(self._get_load_path()))

    def save(self, data: In) -> None:
        """Write a new version."""
        write_new(Path(self._get_save_path()), self.encode(data))

    def read(self, path: Path) -> Out:
        """Return the content of ``path``; raise DatasetError where it is not what was saved, or of another recipe."""
        content = read_checked(path)
        try:
            data, recipe = self.decode(content)
        except MemoryError:
            raise
        except Exception as error:  # the readers of a broken file raise nearly everything
            raise DatasetError(f"{path}: expected what {type(self).__name__} writes, got {type(error).__name__}: {error}") from error
        if recipe != self.recipe:
            raise DatasetError(f"{path}: expected an artifact of recipe {self.recipe}, got {recipe}")
        return data

    def resolve_save_version(self) -> str | None:
        """Return Kedro's save version with the mark of this process behind it."""
        version = super().resolve_save_version()
        return f"{version}-{PROCESS}" if version else None

    def _exists(self) -> bool:
        return self._exists_function(str(self._get_load_path()))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "recipe": self.recipe, "version": self._version}
