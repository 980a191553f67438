"""The hash of a file or folder, from its bytes alone: nothing is parsed."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from unlearnable.errors import InputError
from unlearnable.sources.names import shown


def fingerprint(path: Path, setting: str, *, follow: bool = False) -> str | None:
    """Return the SHA-256 over sorted relative names and bytes of what is at ``path``; None if nothing is.

    Hidden files and folders count for nothing, and no pipe or device is opened.

    Args:
        path: a file or a folder.
        setting: what an error calls it.
        follow: links count as what they lead to; else as their text.

    Raises:
        InputError: a file cannot be read.
    """
    total = hashlib.sha256()
    try:
        if not path.exists():
            return None
        for name, file in _files(path, follow):
            total.update(name + b"\0" + _content(path, file, follow) + b"\0")
    except OSError as error:
        raise InputError(f"{setting}: expected readable files, got {_told(error)}") from error
    return total.hexdigest()


def walk(path: Path, *, follow: bool) -> Iterator[Path]:
    """Yield what is in a folder and the folders below it: files, and links to folders that are not followed.

    Nothing hidden is among them. Where links are followed, each real folder is gone into once, so that a link to a folder above is no
    loop; a folder goes before the links to it.

    Raises:
        OSError: a folder cannot be read.
    """
    known = {os.path.realpath(path)}
    for folder, folders, files in os.walk(path, followlinks=follow, onerror=_refuse):
        place = Path(folder)
        there = [place / name for name in sorted(folders, key=os.fsencode) if not name.startswith(".")]
        gone_into = []
        for each in sorted(there, key=Path.is_symlink):
            real = os.path.realpath(each)
            if real in known or (each.is_symlink() and not follow):
                yield each
            else:
                known.add(real)
                gone_into.append(each.name)
        folders[:] = gone_into
        yield from (place / name for name in sorted(files, key=os.fsencode) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise error


def _told(error: OSError) -> str:
    """Return what the system says of an error, with a name that any terminal shows."""
    return f"[Errno {error.errno}] {error.strerror}: '{shown(error.filename)}'" if error.filename else str(error)


def _files(path: Path, follow: bool) -> list[tuple[bytes, Path]]:
    """Return names and places of a folder's files, by name; a single file has no name, so that it may be renamed."""
    if not path.is_dir():
        return [(b"", path.resolve())]
    return sorted((os.fsencode(file.relative_to(path)), file) for file in walk(path, follow=follow))


def _content(root: Path, file: Path, follow: bool) -> bytes:
    if file.is_symlink() and not follow:
        return b"link " + os.fsencode(file.readlink())
    if file.is_dir():
        return b"folder " + os.fsencode(os.path.relpath(file.resolve(), root.resolve()))
    if not file.is_file():
        return b"neither file nor link"
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
