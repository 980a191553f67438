"""The base of every dataset class that writes: a save is all or nothing, and a load sees what was saved."""

import logging
import secrets
from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import VERSION_FORMAT, VersionNotFoundError

from unlearnable.artifacts.atomic import DamagedError, Part, complete, read_checked, set_aside, write_new

In = TypeVar("In")
Out = TypeVar("Out")

logger = logging.getLogger(__name__)
MARK_BYTES = 4  # Kedro's version is a time stamp of a millisecond, which two runs can share


class Artifact(AbstractVersionedDataset[In, Out]):
    """One file a version, of which the subclass says how it is encoded.

    A version that is damaged is set aside with a warning, and the newest good one is used: one whose sidecar is missing
    or says another size when versions are looked up, one whose hash differs when it is loaded.

    Args:
        filepath: where; Kedro puts the version between its last two parts.
        recipe: the hash of the recipe that made it, kept in the file and compared when it is loaded.
        version: Kedro's.
        metadata: for kedro-viz.
    """

    def __init__(self, *, filepath: str, recipe: str, version: Version | None = None, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(PurePosixPath(filepath), version, exists_function=self._is_good, glob_function=self._versions)
        self.recipe = recipe
        self.metadata = metadata
        self._own_version: str | None = None

    @abstractmethod
    def encode(self, data: In) -> bytes | Iterable[Part]:
        """Return the bytes of ``data`` with the recipe, as a whole or in parts."""

    @abstractmethod
    def decode(self, content: Any) -> tuple[Out, str | None]:
        """Return what ``encode`` was given, and the recipe found in it."""

    @property
    def place(self) -> Path:
        """The folder of its versions."""
        return Path(self._filepath)

    def load(self) -> Out:
        """Return the newest good version, or the given one.

        Raises:
            DatasetError: there is none, the given one is damaged, or it is of another recipe.
        """
        damage: DamagedError | None = None
        while True:
            try:
                path = Path(self._get_load_path())
            except VersionNotFoundError:
                raise self._nothing_to_load(damage) from damage
            try:
                return self.read(path)
            except DamagedError as error:
                if self._version is None or self._version.load:
                    raise
                self._set_aside(path, error)
                damage, self._cached_load_version = error, None

    def newest(self) -> Path:
        """Return the path of the newest good version, to show or send the file; raise as ``load`` does."""
        self.load()
        return Path(self._get_load_path())

    def save(self, data: In) -> None:
        """Write a new version."""
        write_new(Path(self._get_save_path()), self.encode(data))

    def opened(self, path: Path) -> Any:
        """Return the bytes of ``path``; raise DamagedError if they are not what was saved."""
        return read_checked(path)

    def read(self, path: Path) -> Out:
        """Return the content of ``path``.

        Raises:
            DamagedError: it is not what was saved.
            DatasetError: it was made by another recipe.
        """
        content = self.opened(path)
        try:
            data, recipe = self.decode(content)
        except MemoryError:
            raise
        except Exception as error:  # whatever a decoder of somebody else's raises
            raise DamagedError(f"{path}: expected what {type(self).__name__} writes, got {type(error).__name__}: {error}") from error
        if recipe != self.recipe:
            raise DatasetError(f"{path}: expected an artifact of recipe {self.recipe}, got {recipe}")
        return data

    def resolve_save_version(self) -> str | None:
        """Return Kedro's save version, later than every other one and with a random mark behind it."""
        version = super().resolve_save_version()
        if version and self._own_version is None:
            newest = max(Path(self._filepath).glob("*/"), default=Path())
            self._own_version = f"{_later(version, newest.name)}-{secrets.token_hex(MARK_BYTES)}"
        return self._own_version

    def _nothing_to_load(self, damage: DamagedError | None) -> DatasetError:
        if damage is not None:
            return DatasetError(f"{damage}; it was set aside and no other version is there: run again to make it again")
        return DatasetError(f"{self._filepath}: expected a version, got none: run the pipeline that makes it, or a chain, first")

    def _versions(self, _: str) -> list[str]:
        """Return all versions; a pattern with the whole path in it would find none in a project whose name has a bracket."""
        return [str(path) for path in self.place.glob(f"*/{self.place.name}")]

    def _is_good(self, path: str | Path) -> bool:
        """Return whether a version is complete; set it aside where it is there and is not."""
        good = complete(Path(path))
        if not good and Path(path).is_file():
            self._set_aside(Path(path), "its size is not the one that its sidecar says, or the sidecar is missing")
        return good

    def _set_aside(self, path: Path, why: object) -> None:
        logger.warning("a damaged version was set aside as %s (%s)", set_aside(path), why)

    def _exists(self) -> bool:
        return self._exists_function(str(self._get_load_path()))

    def _release(self) -> None:
        super()._release()
        self._own_version = None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "recipe": self.recipe, "version": self._version}


def _later(stamp: str, newest: str) -> str:
    """Return ``stamp``, or the millisecond after the version ``newest`` where the clock was set back since."""
    try:
        after = datetime.strptime(newest.rpartition("-")[0], VERSION_FORMAT) + timedelta(milliseconds=1)
    except ValueError:
        return stamp
    return max(stamp, after.strftime(VERSION_FORMAT)[:-4] + "Z")
