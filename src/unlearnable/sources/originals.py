"""A user's own images that are to be protected: seen at one size by the poison, and in their own size by their copies."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from unlearnable.artifacts.copies import Whole
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, require_every_class
from unlearnable.interrupts import answer
from unlearnable.sources.decoded import TOGETHER, Frame, opened, pixels_of
from unlearnable.sources.folder import FolderImages, id_of
from unlearnable.sources.names import shown
from unlearnable.sources.raw import LEAST_CLASSES

Pixels = npt.NDArray[np.uint8]


class OriginalFolder(FolderImages):
    """Images to be protected, in one folder for each class, as ``FolderImages`` reads them.

    Args:
        path: the folder; None where this environment has none.
        side: of the square in the middle of each image that the poison is crafted on, in pixels; larger images are made smaller for that.
        channels: of the copies: 3, or 1 for grey.
        train: the sub-folder that is protected, where ``path`` does not hold the classes itself.
        classes: as for ``FolderImages``.
        metadata: for kedro-viz.

    Example:
        ```yaml
        originals:
          type: unlearnable.sources.originals.OriginalFolder
          path: /pictures
          side: 64
        ```
    """

    def __init__(
        self,
        *,
        path: str | None,
        side: int = 32,
        channels: int = 3,
        train: str | None = None,
        classes: int | list[str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        parts = {"train": train, "test": train, "classes": classes, "metadata": metadata}
        super().__init__(name="originals", path=path or "", filepath="", side=side, channels=channels, **parts)  # type: ignore[arg-type]
        self.is_named = path is not None
        self._whole = Frame(side=None, channels=channels)

    def load(self) -> "OriginalFolder":  # type: ignore[override]
        """Return itself: nothing is read before it is asked for."""
        return self

    def files(self) -> list[tuple[str, Path]]:
        """Return the class and the file of each image, by name.

        Raises:
            InputError: no folder is named, it is missing or cannot be read, or there are fewer than two classes with images.
        """
        if not self.is_named:
            raise InputError("originals: expected the folder of the images, got none: --env=folder has one")
        try:
            classes = self._classes(self.path / (self.train or ""), least=0)
        except InputError as error:
            raise InputError(str(error).replace("raw_images", "originals", 1)) from None
        filled = [name for name, files in classes.items() if files]
        if len(filled) < LEAST_CLASSES:
            raise InputError(
                f"originals: expected images of at least two classes, a folder for each, in {shown(self.path)}, got {len(filled)}"
            )
        return [(name, file) for name in filled for file in classes[name]]

    def seen(self, files: list[tuple[str, Path]] | None = None) -> LabelledImages:
        """Return the square in the middle of each image, at ``side`` pixels; those that cannot be read are left out.

        Args:
            files: some of what ``files`` returns; None is all.

        Raises:
            InputError: as ``files`` does, or no image of a class can be read.
        """
        files = self.files() if files is None else files
        names = tuple(dict.fromkeys(name for name, _ in files))
        found: list[tuple[str, Path, Pixels]] = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in track(range(0, len(files), TOGETHER), "look at the images", transient=True):
                answer()
                some = files[start : start + TOGETHER]
                found += [(*each, pixels) for each, pixels in zip(some, pool.map(self._square, some), strict=True) if pixels is not None]
        if not found:
            raise InputError(f"originals: expected images that can be read in {shown(self.path)}, got none")
        images = LabelledImages(
            images=np.stack([pixels for _, _, pixels in found]),
            labels=np.array([names.index(name) for name, _, _ in found], dtype=np.int64),
            num_classes=len(names),
            ids=np.array([id_of(name, file) for name, file, _ in found]),
            class_names=names,
        )
        try:
            require_every_class(images)
        except InputError as error:
            raise InputError(f"originals: {error} that can be read") from None
        return images

    def _square(self, image: tuple[str, Path]) -> Pixels | None:
        try:
            return pixels_of(self.frame, (shown(image[1]), partial(opened, image[1])))
        except InputError:  # which the copying says
            return None

    def whole(self, file: Path) -> Whole:
        """Return an image in its own size, as it is seen.

        Raises:
            InputError: it cannot be read, is transparent or has more than eight bits a channel.
        """
        name = shown(file)
        try:
            pixels = pixels_of(self._whole, (name, partial(opened, file)))
        except InputError as error:
            raise InputError(str(error).removeprefix(f"raw_images: {name}: ")) from error
        with opened(file) as image:
            profile = image.info.get("icc_profile") if image.mode in ("L" if len(pixels) == 1 else ("RGB", "P")) else None
            return Whole(pixels=pixels, mode=image.mode, profile=profile)
