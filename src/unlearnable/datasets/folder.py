"""A user's own images, or ImageNet's: a folder for each class. And the protected copies of the same images."""

import hashlib
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from unlearnable.datasets.decoded import Frame, decoded, named, opened
from unlearnable.datasets.fingerprint import fingerprint
from unlearnable.datasets.raw import RawImages, ReadOnly
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.register import nearest

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class FolderImages(ReadOnly):
    """Images in one folder for each class: ``class_name/*.png``, ``.jpg``, ``.jpeg``, ``.webp`` or ``.bmp``.

    They are decoded once, on all cores, into a file that is mapped into memory where it is large. The id of an image is made of its class
    and its name without the ending, so that a copy in another folder or format has the same one.

    Args:
        name: of the dataset, in paths and scores.
        path: the folder.
        side: of the square that is kept of each image, in pixels; None takes images as they are, which must then be of one size.
        resize: what the shorter side becomes first; None is ``side``.
        channels: 3, or 1 for grey.
        train, test: sub-folders that hold the two sets; None, both, where ``path`` holds the classes and the set is split.
        test_fraction: of the images of each class that are test images, where the set is split.
        split_seed: decides which, by their names alone: a copy of the images that has other pixels is split alike.
        classes: the names of the folders that are taken; a number takes the first by name; None takes all.
        filepath: the folder of the decoded images.
        metadata: for kedro-viz.

    Example:
        ```yaml
        raw_images:
          type: unlearnable.datasets.folder.FolderImages
          name: mine
          path: ${param:data_root}/mine
          side: 64
          filepath: data/02_intermediate/${dataset:}/decoded
        ```
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        filepath: str,
        side: int | None = None,
        resize: int | None = None,
        channels: int = 3,
        train: str | None = None,
        test: str | None = None,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        classes: int | list[str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if (train is None) != (test is None):
            raise InputError(f"raw_images: expected train and test, or neither, got train {train!r} and test {test!r}")
        if isinstance(test_fraction, bool) or not isinstance(test_fraction, int | float) or not 0 < test_fraction < 1:
            raise InputError(f"raw_images.test_fraction: expected a number between 0 and 1, got {test_fraction!r}")
        self.name, self.path, self.filepath, self.metadata = name, Path(path), filepath, metadata
        self.frame = Frame(side=side, resize=resize, channels=channels)
        self.train, self.test, self.test_fraction, self.split_seed, self.classes = train, test, test_fraction, split_seed, classes

    def load(self) -> RawImages:
        """Return the two sets.

        Raises:
            InputError: where a folder is missing or empty, an image cannot be decoded, or the test set has a class that the other lacks.
        """
        return self.read()

    def read(self) -> RawImages:
        """Return the two sets, as ``load`` does, but for what Kedro says of errors."""
        names = self._names(self.path / (self.train or ""))
        if self.test is not None:
            self._require_known(names)
        files = {name: self._files(name) for name in names}
        copy = named(
            self.filepath, frame=self.frame, names=names, files=files, bytes=fingerprint(self.path, "raw_images.path", follow=True)
        )
        train, test = (self._set(part, names, {name: files[name][part] for name in names}, copy) for part in ("train", "test"))
        return RawImages(train=train, test=test)

    def _names(self, folder: Path) -> list[str]:
        """Return the classes, in their order."""
        there = sorted(each.name for each in _entries(folder) if each.is_dir() and not each.name.startswith("."))
        if not there:
            raise InputError(f"raw_images: expected a folder for each class in {folder}, got none")
        if self.classes is None:
            return there
        if isinstance(self.classes, int):
            if not 1 <= self.classes <= len(there):
                raise InputError(f"raw_images.classes: expected 1 to {len(there)}, the folders in {folder}, got {self.classes}")
            return there[: self.classes]
        for name in self.classes:
            if name not in there:
                raise InputError(f"raw_images.classes: expected folders of {folder}, got '{name}'{nearest(name, there)}")
        return list(self.classes)

    def _require_known(self, names: list[str]) -> None:
        folder = self.path / str(self.test)
        odd = [each.name for each in _entries(folder) if each.is_dir() and not each.name.startswith(".") and each.name not in names]
        if odd and self.classes is None:
            raise InputError(
                f"raw_images: expected in {folder} only classes that {self.path / str(self.train)} has, got '{sorted(odd)[0]}'"
            )

    def _files(self, name: str) -> dict[str, list[str]]:
        """Return the images of a class in each set, as paths from ``path`` on."""
        if self.train is not None:
            return {"train": self._in(Path(self.train) / name), "test": self._in(Path(str(self.test)) / name)}
        files = self._in(Path(name))
        chosen = sorted(files, key=self._drawn)[: max(1, round(self.test_fraction * len(files)))]
        return {"train": [file for file in files if file not in set(chosen)], "test": [file for file in files if file in set(chosen)]}

    def _drawn(self, file: str) -> bytes:
        """Return what decides whether an image is a test image: its class and its name without the ending."""
        return hashlib.sha256(f"{self.split_seed}/{_stem(file)}".encode()).digest()

    def _in(self, folder: Path) -> list[str]:
        """Return the images of a class's folder, by name; raise InputError where there are too few."""
        files = sorted(each.name for each in _entries(self.path / folder) if each.suffix.lower() in SUFFIXES)
        twice = [one for one, other in pairwise(files) if Path(one).stem == Path(other).stem]
        if twice:
            raise InputError(f"raw_images: expected one image of each name in {self.path / folder}, got several '{Path(twice[0]).stem}'")
        least = 1 if self.train is not None else 2
        if len(files) < least:
            wanted = f"at least {least} image{'s' if least > 1 else ''} ({', '.join(SUFFIXES)})"
            raise InputError(f"raw_images: expected {wanted} in {self.path / folder}, got {len(files)}")
        return [str(folder / file) for file in files]

    def _set(self, part: str, names: list[str], files: dict[str, list[str]], copy: Path) -> LabelledImages:
        labels = np.repeat(np.arange(len(names)), [len(files[name]) for name in names])
        sources = [(str(self.path / file), partial(opened, self.path / file)) for name in names for file in files[name]]
        ids = np.array([_id(file) for name in names for file in files[name]])
        return decoded(sources, labels, len(names), frame=self.frame, copy=copy / f"{part}.safetensors", ids=ids)

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "path": str(self.path), "frame": self.frame}


class ProtectedFolder(FolderImages):
    """The protected copies of the images of a folder, as the entry ``released_poison``: the same classes and names, any of the formats.

    Args: as those of ``FolderImages``.

    Example:
        ```yaml
        released_poison:
          type: unlearnable.datasets.folder.ProtectedFolder
          name: protected
          path: /pictures/protected
          side: 64
          filepath: data/02_intermediate/${dataset:}/decoded
        ```
    """

    def load(self) -> "Protected":  # type: ignore[override]
        """Return the copies, of which nothing is read yet."""
        return Protected(self)


class Protected:
    """Protected copies that nothing has opened yet."""

    def __init__(self, folder: FolderImages) -> None:
        self._folder = folder

    def check(self) -> None:
        """Raise InputError where the folder is missing."""
        if not self._folder.path.is_dir():
            raise InputError(
                f"released_poison.path: expected the folder of the protected images, got {self._folder.path}, which is missing"
            )

    def poisoned(self, clean: LabelledImages) -> LabelledImages:
        """Return the protected copies of those images of ``clean`` that have one, in its order.

        Raises:
            InputError: where the folder cannot be read, holds no copy of any of the images, or its copies have other sizes or classes.
        """
        try:
            raw = self._folder.read()
        except InputError as error:
            raise InputError(str(error).replace("raw_images", "released_poison", 1)) from None
        self._require_alike(clean, raw.train)
        copies = raw.train if np.isin(clean.ids, raw.train.ids).all() else _together(raw.train, raw.test)
        there = np.isin(clean.ids, copies.ids)
        if not there.any():
            raise InputError(f"released_poison.path: expected copies of the images of the same names in {self._folder.path}, got none")
        originals = clean if there.all() else clean.subset(np.flatnonzero(there))
        found = copies.matching(originals)
        if not np.array_equal(found.labels, originals.labels):
            raise self._other_classes()
        return found

    def _require_alike(self, clean: LabelledImages, copies: LabelledImages) -> None:
        if copies.shape != clean.shape:
            expected, got = (f"{shape[2]}x{shape[1]} pixels of {shape[0]} channels" for shape in (clean.shape, copies.shape))
            raise InputError(f"released_poison: expected {expected}, as the originals, got {got}: are side, resize and channels the same?")
        if copies.num_classes != clean.num_classes:
            raise self._other_classes()

    def _other_classes(self) -> InputError:
        return InputError(f"released_poison: expected the classes of the originals in {self._folder.path}, got others")


def _together(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    images, labels, ids = (np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("images", "labels", "ids"))
    return LabelledImages(images=images, labels=labels, ids=ids, num_classes=first.num_classes)


def _stem(file: str) -> str:
    """Return class and name of an image, without the sub-folder of its set and without its ending."""
    return "/".join(Path(file).with_suffix("").parts[-2:])


def _id(file: str) -> int:
    return int.from_bytes(hashlib.sha256(_stem(file).encode()).digest()[:8], "big") >> 1


def _entries(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        raise InputError(f"raw_images: expected the folder {folder}, which is missing")
    return folder.iterdir()
