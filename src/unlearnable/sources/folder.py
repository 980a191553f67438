"""A user's own images, or ImageNet's: a folder for each class. And the protected copies of the same images."""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from unlearnable.artifacts.copies import OF_COPIES
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.register import nearest
from unlearnable.sources.decoded import Frame, decoded, named, opened
from unlearnable.sources.fingerprint import fingerprint, walk
from unlearnable.sources.names import shown, text
from unlearnable.sources.protected import require_own
from unlearnable.sources.raw import LEAST_CLASSES, RawImages, ReadOnly

logger = logging.getLogger(__name__)
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class FolderImages(ReadOnly):
    """Images in one folder for each class: ``class_name/*.png``, ``.jpg``, ``.jpeg``, ``.webp`` or ``.bmp``.

    They are decoded once, on all cores, into a file that is mapped into memory where it is large. The id of an image is made of its class
    and its name without the ending, so that a copy in another folder or format has the same one. Hidden files are ignored; others that
    are no image of a class (another type, a deeper folder) are counted in one line of the log.

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
          type: unlearnable.sources.folder.FolderImages
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
            InputError: a folder is missing or empty, there is one class alone, two classes or two images of one have the same name,
                an image cannot be decoded, or one set has a class that the other lacks.
        """
        return self.read()

    def read(self) -> RawImages:
        """Return the two sets, as ``load`` does, but for what Kedro says of errors."""
        sets = self._sets()
        names = tuple(sets["train"])
        if len(names) < LEAST_CLASSES:
            raise InputError(f"raw_images: expected at least two classes, got {', '.join(map(repr, names))} in {shown(self.path)}")
        images = {part: [(label, file) for label, name in enumerate(names) for file in found[name]] for part, found in sets.items()}
        copy = self._place({part: self._told(some) for part, some in images.items()})
        train, test = (self._decoded(images[part], names, copy / f"{part}.safetensors") for part in ("train", "test"))
        return RawImages(train=train, test=test, files={part: [shown(file) for _, file in some] for part, some in images.items()})

    def copies(self) -> dict[str, list[Path]]:
        """Return the files of each class, without a split into parts: of the sub-folder ``train`` if there is one.

        Raises:
            InputError: the folder is missing, or names are not distinct.
        """
        return self._classes(self.path / (self.train or ""), least=0)

    def decoded_copies(self, images: list[tuple[int, Path]], names: tuple[str, ...]) -> LabelledImages:
        """Return images, given as labels and files, of the classes ``names``, in their order."""
        return self._decoded(images, names, self._place({"copies": self._told(images)}) / "copies.safetensors")

    def _place(self, files: dict[str, list[tuple[int, str]]]) -> Path:
        """Return the path of the decoded images, named by everything that decides them."""
        return named(self.filepath, frame=self.frame, files=files, bytes=fingerprint(self.path, "raw_images.path", follow=True))

    def _told(self, images: list[tuple[int, Path]]) -> list[tuple[int, str]]:
        return [(label, text(file.name)) for label, file in images]

    def _sets(self) -> dict[str, dict[str, list[Path]]]:
        """Return the images of each class in each set."""
        if self.train is None:
            whole = self._classes(self.path, least=2)
            tests = {name: self._drawn(name, files) for name, files in whole.items()}
            drawn = {file for files in tests.values() for file in files}
            return {"train": {name: [file for file in files if file not in drawn] for name, files in whole.items()}, "test": tests}
        train = self._classes(self.path / self.train, least=1)
        return {"train": train, "test": self._classes(self.path / str(self.test), least=1, like=train)}

    def _classes(self, folder: Path, *, least: int, like: Iterable[str] | None = None) -> dict[str, list[Path]]:
        """Return the images of each class in a folder, by name; log what is ignored.

        Raises:
            InputError: a class has less than ``least``, or two of a name, or one is missing that the set ``like`` has.
        """
        found, passed = listing(folder)
        names = self._chosen(list(found), folder) if like is None else self._require_alike(list(found), list(like), folder)
        for name in names:
            self._require_images(folder / name, found[name], [text(file.name) for file in passed.get(name, [])], least)
        tell_passed(folder, [file for name in ("", *names) for file in passed.get(name, [])])
        return {name: found[name] for name in names}

    def _chosen(self, there: list[str], folder: Path) -> list[str]:
        """Return the classes that are taken, in their order."""
        if not there:
            raise InputError(f"raw_images: expected a folder for each class in {shown(folder)}, got none")
        if self.classes is None:
            return there
        if isinstance(self.classes, int):
            if not 1 <= self.classes <= len(there):
                raise InputError(f"raw_images.classes: expected 1 to {len(there)}, the folders in {shown(folder)}, got {self.classes}")
            return there[: self.classes]
        names = [normalize("NFC", str(name)) for name in self.classes]
        for name in names:
            if name not in there:
                raise InputError(f"raw_images.classes: expected folders of {shown(folder)}, got '{name}'{nearest(name, there)}")
        return names

    def _require_alike(self, there: list[str], names: list[str], folder: Path) -> list[str]:
        """Return the classes of the training set, which are to be those of the test set too."""
        for name in names:
            if name not in there:
                raise InputError(f"raw_images: expected the folder {shown(folder)}/{name}, which is missing{nearest(name, there)}")
        odd = [name for name in there if name not in names]
        if odd and self.classes is None:
            train = shown(self.path / str(self.train))
            raise InputError(f"raw_images: expected in {shown(folder)} only classes that {train} has, got '{odd[0]}'")
        return names

    def _require_images(self, folder: Path, files: list[Path], others: list[str], least: int) -> None:
        twice = [name for name, count in Counter(map(_stem, files)).items() if count > 1]
        if twice:
            raise InputError(f"raw_images: expected one image of each name in {shown(folder)}, got several '{twice[0]}'")
        if len(files) < least:
            wanted = f"at least {least} image{'s' if least > 1 else ''} ({', '.join(SUFFIXES)})"
            beside = f" beside {len(others)} of other kinds, such as {others[0]}" if others else ""
            raise InputError(f"raw_images: expected {wanted} in {shown(folder)}, got {len(files)}{beside}")

    def _drawn(self, name: str, files: list[Path]) -> list[Path]:
        """Return the test images of a class: its name and theirs without the ending decide."""

        def rank(file: Path) -> bytes:
            return hashlib.sha256(f"{self.split_seed}/{name}/{_stem(file)}".encode()).digest()

        chosen = set(sorted(files, key=rank)[: max(1, round(self.test_fraction * len(files)))])
        return [file for file in files if file in chosen]

    def _decoded(self, images: list[tuple[int, Path]], names: tuple[str, ...], copy: Path) -> LabelledImages:
        labels = np.array([label for label, _ in images], dtype=np.int64)
        sources = [(shown(file), partial(opened, file)) for _, file in images]
        ids = np.array([id_of(names[label], file) for label, file in images])
        found = decoded(sources, labels, len(names), frame=self.frame, copy=copy, ids=ids)
        return replace(found, class_names=names)

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "path": str(self.path), "frame": self.frame}


class ProtectedFolder(FolderImages):
    """The protected copies of the images of a folder, as the entry ``released_poison``: the same classes and names, any of the formats.

    A part of the images is enough, but of each class. Where the originals have the sub-folder ``train``, so have the copies.

    Args: as those of ``FolderImages``.

    Example:
        ```yaml
        released_poison:
          type: unlearnable.sources.folder.ProtectedFolder
          name: protected
          path: /pictures/protected
          side: 64
          filepath: data/02_intermediate/${dataset:}/decoded
        ```
    """

    def load(self) -> "ProtectedFolder":  # type: ignore[override]
        """Return itself: nothing is read before ``poisoned`` is asked for."""
        return self

    def check(self) -> None:
        """Raise InputError if the folder is missing."""
        if not self.path.is_dir():
            raise InputError(f"released_poison.path: expected the folder of the protected images, got {shown(self.path)}, which is missing")

    def poisoned(self, clean: LabelledImages) -> LabelledImages:
        """Return the protected copies of those images of ``clean`` that have one, in its order.

        Raises:
            InputError: the folder cannot be read, has no copy of any image of a class or a class that the originals lack, or where a
                copy has another size than its original or is one of another image.
        """
        try:
            return self._poisoned(clean)
        except InputError as error:
            raise InputError(str(error).replace("raw_images", "released_poison", 1)) from None

    def _poisoned(self, clean: LabelledImages) -> LabelledImages:
        classes = self.copies()
        files = {id_of(name, file): file for name, of_class in classes.items() for file in of_class}
        places = np.flatnonzero(np.isin(clean.ids, list(files)))
        self._require_classes(clean, clean.labels[places], classes)
        logger.info("%d of %d training images have a protected copy", len(places), len(clean))
        chosen = [(int(label), files[int(number)]) for label, number in zip(clean.labels[places], clean.ids[places], strict=True)]
        copies = self.decoded_copies(chosen, clean.class_names)
        self._require_size(clean, copies)
        require_own(copies, clean, places, [file for _, file in chosen])
        return replace(copies, published=clean.published)

    def _require_classes(self, clean: LabelledImages, covered: npt.NDArray[np.int64], classes: dict[str, list[Path]]) -> None:
        names, where = clean.class_names, shown(self.path)
        odd = [name for name in classes if name not in names]
        for label in np.setdiff1d(np.arange(clean.num_classes), covered):
            there = classes.get(names[label], []) if names else []
            got = f"got {len(there)} of other names, such as {text(there[0].name)}" if there else "got none"
            beside = f"; other folders there: {', '.join(odd)}" if odd else ""
            expected = f"expected copies of training images of class {clean.called(int(label))} by their names in {where}"
            raise InputError(f"raw_images: {expected}, {got}{beside}")
        if odd:
            raise InputError(f"raw_images: expected only the classes of the originals, {', '.join(names)}, in {where}, got '{odd[0]}'")

    def _require_size(self, clean: LabelledImages, copies: LabelledImages) -> None:
        if copies.shape != clean.shape:
            expected, got = (f"{shape[2]}x{shape[1]} pixels of {shape[0]} channels" for shape in (clean.shape, copies.shape))
            raise InputError(f"raw_images: expected {expected}, as the originals, got {got}: are side, resize and channels the same?")


def listing(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return the images of each class below a folder, in their order, and what is ignored, by class: "" where it is in none.

    Raises:
        InputError: there is no such folder, it cannot be read, or two classes have one name.
    """
    if not folder.is_dir():
        raise InputError(f"raw_images: expected the folder {shown(folder)}, which is missing")
    found: dict[str, list[Path]] = {}
    passed = defaultdict[str, list[Path]](list)
    try:
        files = list(walk(folder, follow=True))  # what the hash of the folder is made of
        again = {file for file in files if file.parent == folder and file.is_dir()}
        folders = [each for each in folder.iterdir() if not each.name.startswith(".") and each.is_dir() and each not in again]
    except OSError as error:
        raise InputError(f"raw_images: expected a folder that can be read, got {shown(str(error))}") from error
    for name in sorted(text(each.name) for each in folders):
        if name in found:
            raise InputError(f"raw_images: expected one folder of each name in {shown(folder)}, got several '{name}'")
        found[name] = []
    for file in files:
        name, *rest = file.relative_to(folder).parts
        if not rest and name in OF_COPIES:
            continue
        is_image = len(rest) == 1 and file.suffix.lower() in SUFFIXES
        (found if is_image else passed)[text(name) if rest else ""].append(file)
    return {name: sorted(images, key=lambda file: text(file.name)) for name, images in found.items()}, passed


def tell_passed(folder: Path, files: list[Path]) -> None:
    """Log in one line how many files are ignored, by the reason, with one of each."""
    reasons = defaultdict[str, list[Path]](list)
    for file in files:
        reasons[_reason(file, folder)].append(file)
    if files:
        told = (f"{len(some)} {reason} ({shown(some[0].relative_to(folder))})" for reason, some in reasons.items())
        logger.warning("%s: ignored %d file%s: %s", shown(folder), len(files), "s" * (len(files) > 1), ", ".join(told))


def _reason(file: Path, folder: Path) -> str:
    depth = len(file.relative_to(folder).parts)
    if file.is_dir():
        return "links to a folder that is there already"
    if depth == 1:
        return "in no class"
    if depth > 2:
        return "in deeper folders"
    return f"of the type {shown(file.suffix)}" if file.suffix else "without an ending"


def id_of(name: str, file: Path) -> int:
    """Return the id of an image: of its class and its name without the ending, so that a copy in another folder or format has it too."""
    return int.from_bytes(hashlib.sha256(f"{name}/{_stem(file)}".encode()).digest()[:8], "big") >> 1


def _stem(file: Path) -> str:
    return text(file.stem)
