"""The hash of a file or folder, from its bytes alone: nothing is parsed."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from unlearnable.errors import InputError


def fingerprint(path: Path, setting: str, *, follow: bool = False) -> str | None:
    """Return the SHA-256 over sorted relative names and bytes of what lies at ``path``; None where nothing does.

    Hidden files count for nothing, and no pipe or device is opened.

    Args:
        path: a file or a folder.
        setting: what an error calls it.
        follow: links count as what they lead to; else as their text.

    Raises:
        InputError: where a file cannot be read.
    """
    total = hashlib.sha256()
    try:
        if not path.exists():
            return None
        for name, file in _files(path, follow):
            total.update(os.fsencode(name) + b"\0" + _content(file, follow) + b"\0")
    except OSError as error:
        raise InputError(f"{setting}: expected readable files, got {error}") from error
    return total.hexdigest()


def _files(path: Path, follow: bool) -> Iterator[tuple[str, Path]]:
    """Yield names and places of a folder's files in their order; a single file has no name, so that it may be renamed."""
    if not path.is_dir():
        yield "", path.resolve()
        return
    found = (Path(folder) / name for folder, _, names in os.walk(path, followlinks=follow) for name in names if not name.startswith("."))
    yield from sorted((str(file.relative_to(path)), file) for file in found)


def _content(file: Path, follow: bool) -> bytes:
    if file.is_symlink() and not follow:
        return b"link " + os.fsencode(file.readlink())
    if not file.is_file():
        return b"neither file nor link"
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
