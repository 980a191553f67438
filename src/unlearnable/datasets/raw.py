"""Where images come from: the catalog entry ``raw_images`` names one of these, and that is all that swaps a dataset."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, leaked, require_every_class

MOST_LEAKED = 0.01  # of the test images: CIFAR-10 has none among its training images, CIFAR-100 has a few


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawImages:
    """A dataset as its makers publish it: a training set and a test set, checked when made.

    Raises:
        InputError: where a class is empty, or too many test images are among the training images.
    """

    train: LabelledImages
    test: LabelledImages

    def __post_init__(self) -> None:
        for part, images in (("training", self.train), ("test", self.test)):
            try:
                require_every_class(images)
            except InputError as error:
                raise InputError(f"raw_images, {part} set: {error}") from None
        found = leaked(self.train, self.test)
        if len(found) > MOST_LEAKED * len(self.test):
            most = f"at most {MOST_LEAKED:.0%} of the test images among the training images"
            raise InputError(f"raw_images: expected {most}, got {len(found)} of {len(self.test)}; the first is test image {found[0]}")


class ReadOnly(AbstractDataset[None, RawImages]):
    """The base of datasets that only load."""

    def save(self, data: None) -> None:  # noqa: ARG002
        """Refuse."""
        raise InputError(f"raw_images: {type(self).__name__} only loads")


class TorchvisionImages(ReadOnly):
    """A dataset that torchvision reads, from a folder that holds it, or downloaded into it.

    Args:
        name: the dataset's class in torchvision; CIFAR10 and CIFAR100 are understood.
        path: the folder that holds ``cifar-10-batches-py``, or is to hold it.
        md5: the MD5 of each file, where it is not the published data: a file name -> hexadecimal digits.
        download: fetch it where no file of it is there.
        metadata: for kedro-viz.

    Example:
        ```yaml
        raw_images:
          type: unlearnable.datasets.raw.TorchvisionImages
          name: CIFAR10
          path: ${param:data_root}
        ```
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        md5: dict[str, str] | None = None,
        download: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if name not in ("CIFAR10", "CIFAR100"):
            raise InputError(f"raw_images: expected name CIFAR10 or CIFAR100, got '{name}'")
        self.name, self.md5 = name, md5 or {}
        self.path, self.download, self.metadata = Path(path), download, metadata

    @cached_property
    def reader(self) -> Any:
        """Torchvision's class; it is imported when first asked for, which takes a second."""
        from torchvision import datasets

        return _with_md5(getattr(datasets, self.name), self.md5)

    def load(self) -> RawImages:
        """Return the whole dataset.

        Raises:
            InputError: where a file is missing or damaged, or the download failed.
        """
        self._require_files()
        return RawImages(train=self._read(train=True), test=self._read(train=False))

    def _require_files(self) -> None:
        """Check the MD5 of every file before any is unpickled; download the dataset where none is there."""
        from torchvision.datasets.utils import check_integrity

        folder = self.path / self.reader.base_folder
        if not folder.exists() and self.download:
            self._fetch()
        for file, md5 in self._files().items():
            if not (folder / file).is_file():
                raise InputError(f"raw_images: expected the file {folder / file}, which is missing (data_root is '{self.path}')")
            if not check_integrity(folder / file, md5):
                raise InputError(f"raw_images: {folder / file} is damaged: expected MD5 {md5}")

    def _fetch(self) -> None:
        try:
            self.reader(self.path, download=True)
        except (OSError, RuntimeError) as error:
            expected = f"expected {self.reader.base_folder} in {self.path}, got none, and the download failed ({error})"
            raise InputError(f"raw_images: {expected}; set data_root to a folder that holds it") from error

    def _files(self) -> dict[str, str]:
        meta = self.reader.meta
        return dict([*self.reader.train_list, *self.reader.test_list, [meta["filename"], meta["md5"]]])

    def _read(self, *, train: bool) -> LabelledImages:
        found = self.reader(self.path, train=train)
        images = np.ascontiguousarray(found.data.transpose(0, 3, 1, 2))
        labels = np.asarray(found.targets, dtype=np.int64)
        try:
            return LabelledImages(images=images, labels=labels, num_classes=len(found.classes))
        except InputError as error:
            raise InputError(f"raw_images, {self.path / self.reader.base_folder}: {error}") from None

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "path": str(self.path)}


def _with_md5(reader: Any, md5: dict[str, str]) -> Any:
    """Return torchvision's class, expecting other hashes for the files named."""
    if not md5:
        return reader
    lists = {part: [[file, md5.get(file, published)] for file, published in getattr(reader, part)] for part in ("train_list", "test_list")}
    meta = reader.meta | {"md5": md5.get(reader.meta["filename"], reader.meta["md5"])}
    return type(reader.__name__, (reader,), {**lists, "meta": meta})
