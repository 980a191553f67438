"""Storage that several machines see: what one run has made is there for the others.

Artifacts are made and read on a machine's own disk. Where ``storage.yml`` names a place (a folder, ``s3://…``, whatever fsspec
knows), a run fetches what is there and not here before it starts, and uploads each thing as soon as it is made. A file goes before
its sidecar, and the last file of a version goes last, so half a version is none.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from pydantic import BaseModel, ConfigDict, ValidationError

from unlearnable.artifacts.atomic import NOTE, DamagedError, complete, sidecar, write_new
from unlearnable.artifacts.checkpoints import LAST
from unlearnable.errors import InputError, wrong_setting
from unlearnable.register import nearest

logger = logging.getLogger(__name__)
SIDECAR = ".sha256"
LONGEST_REASON = 200


class StorageSettings(BaseModel):
    """The values of ``storage.yml``; that file explains each."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: str | None
    credentials: str | None


class Storage:
    """A place that fsspec knows, which holds the project's ``data`` as a disk does.

    Args:
        url: of the place.
        project: the project's folder; artifacts are named by their path from there.
        options: of the file system, such as credentials.

    Raises:
        InputError: fsspec knows no such place.
    """

    def __init__(self, url: str, project: Path, options: Mapping[str, Any]) -> None:
        self._url, self._project, self._options = url, project, dict(options)

    @classmethod
    def of(cls, values: Mapping[str, Any], project: Path, credentials: Mapping[str, Any]) -> "Storage | None":
        """Return the storage of ``storage.yml``; None where it names none.

        Args:
            values: of the file.
            project: the project's folder.
            credentials: blocks of ``credentials.yml`` by name.

        Raises:
            InputError: a value is wrong, or there are no such credentials.
        """
        try:
            settings = StorageSettings.model_validate(dict(values))
        except ValidationError as error:
            raise InputError("; ".join(wrong_setting("storage.yml", problem) for problem in error.errors())) from None
        if settings.url is None:
            return None
        if settings.credentials is not None and settings.credentials not in credentials:
            where = f"the credentials '{settings.credentials}' in conf/local/credentials.yml"
            raise InputError(f"storage.yml: expected {where}, got none{nearest(settings.credentials, list(credentials))}")
        options = credentials[settings.credentials] if settings.credentials else {}
        return cls(settings.url, project, options)

    def __str__(self) -> str:
        return self._url

    def require(self) -> None:
        """Raise InputError if the place cannot be listed."""
        self.index(("data/08_reporting",))

    def index(self, folders: Iterable[str]) -> set[str]:
        """Return the paths, from the project on, of the artifacts below ``folders`` of which a whole version is there."""
        files = {path for folder in folders for path in self._files(folder)}
        return {artifact for path in files if (artifact := _artifact(path, files))}

    def share(self, path: Path) -> None:
        """Fetch the newest version of the artifact at ``path`` where it is there and not here; put it there where it is only here."""
        name = path.relative_to(self._project).as_posix()
        theirs = self._versions(name)
        ours = whole_versions(path)
        if theirs and not ours:
            self._fetch(name, max(theirs))
        elif ours and not theirs:
            self._put(ours[-1].parent)

    def _fetch(self, artifact: str, version: str) -> None:
        for name in sorted(self._files(f"{artifact}/{version}")):
            if not name.endswith(SIDECAR) and not (self._project / name).exists():
                write_new(self._project / name, self._read(name))
        logger.info("fetched %s from %s", artifact, self)

    def _put(self, version: Path) -> None:
        for path in sorted(path for path in version.rglob("*") if path.is_file() and complete(path)):
            name = path.relative_to(self._project).as_posix()
            self._do("put_file", str(path), self._place(name))
            self._do("put_file", str(sidecar(path)), self._place(name + SIDECAR))

    def _read(self, name: str) -> bytes:
        """Return the bytes of a file; raise DamagedError if they are not those that its sidecar says."""
        content: bytes = self._do("cat_file", self._place(name))
        note = NOTE.fullmatch(self._do("cat_file", self._place(name + SIDECAR)).decode(errors="replace"))
        if note is None or hashlib.sha256(content).hexdigest() != note[2]:
            raise DamagedError(f"{self}/{name}: expected the bytes that its sidecar says, got others: remove this version there")
        return content

    def _versions(self, artifact: str) -> set[str]:
        files = set(self._files(artifact))
        return {PurePosixPath(path).relative_to(artifact).parts[0] for path in files if _artifact(path, files) == artifact}

    def _files(self, folder: str) -> list[str]:
        """Return the files below ``folder``, as paths from the project on."""
        self._system.invalidate_cache()
        try:
            found = self._do("find", self._place(folder))
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise
        return [path.removeprefix(f"{self._root}/") for path in found]

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _do(self, what: str, *arguments: str) -> Any:
        """Ask the file system; raise InputError if it refuses or does not answer."""
        try:
            return getattr(self._system, what)(*arguments)
        except Exception as error:  # each file system has errors of its own
            raise InputError(f"storage {self}: expected to {what.partition('_')[0]} files there, got {_reason(error)}") from error

    @cached_property
    def _root(self) -> str:
        return str(fsspec.core.url_to_fs(self._url, **self._options)[1]).rstrip("/")

    @cached_property
    def _system(self) -> Any:
        try:
            system = fsspec.core.url_to_fs(self._url, **self._options)[0]
        except Exception as error:
            raise InputError(f"storage {self}: expected a place that fsspec knows, got {_reason(error)}") from error
        if "file" in system.protocol:
            system.auto_mkdir = True
        return system


def is_whole(version: Path) -> bool:
    """Return whether a version of an artifact, a file or a folder of checkpoints, is all there."""
    if version.is_dir():
        return any(complete(path) for path in version.glob(f"*{LAST}"))
    return complete(version)


def whole_versions(path: Path) -> list[Path]:
    """Return the versions of the artifact at ``path`` that are all there, the newest last."""
    return sorted(version for version in path.glob(f"*/{path.name}") if is_whole(version))


def is_there(path: Path) -> bool:
    """Return whether a version of the artifact at ``path`` is all there."""
    return any(is_whole(version) for version in path.glob(f"*/{path.name}"))


def _artifact(path: str, files: set[str]) -> str | None:
    """Return the artifact of which the file ``path`` shows that a version is whole, or None."""
    *folders, version_folder, name = path.split("/")
    if f"{path}{SIDECAR}" not in files:
        return None
    if folders and folders[-1] == name:  # …/scores.json/VERSION/scores.json
        return "/".join(folders)
    if name.endswith(LAST) and len(folders) > 1 and folders[-2] == version_folder:  # …/checkpoints/VERSION/checkpoints/epoch-0007.last…
        return "/".join(folders[:-1])
    return None


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_REASON]}"
