"""Where images come from: the catalog entry ``raw_images`` names one of these, and that is all that swaps a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, leaked, require_every_class
from unlearnable.register import nearest
from unlearnable.sources.published import PUBLISHED

LEAST_CLASSES = 2  # one class is learned without looking
MOST_LEAKED = 0.01  # of the test images: CIFAR-10 has none among its training images, CIFAR-100 has a few


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawImages:
    """A dataset as its makers publish it: a training set and a test set, checked when made.

    Args:
        train, test: the sets.
        files: what the images of ``train`` and ``test`` are called, where they have names; for messages.

    Raises:
        InputError: there are less than two classes, one is empty, or too many test images are among the training images.
    """

    train: LabelledImages
    test: LabelledImages
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.train.num_classes < LEAST_CLASSES:
            raise InputError(f"raw_images: expected at least two classes, got {self.train.num_classes}")
        for part, images in (("training", self.train), ("test", self.test)):
            try:
                require_every_class(images)
            except InputError as error:
                raise InputError(f"raw_images, {part} set: {error}") from None
        found = leaked(self.train, self.test)
        if len(found) > MOST_LEAKED * len(self.test):
            most = f"at most {MOST_LEAKED:.0%} of the test images among the training images"
            first = self._told(*min(found.items()))
            raise InputError(f"raw_images: expected {most}, got {len(found)} of {len(self.test)}; the first is {first}")

    def _told(self, place: int, twin: int) -> str:
        return f"{self.files['test'][place]}, as {self.files['train'][twin]}" if self.files else f"test image {place}"


class ReadOnly(AbstractDataset[None, RawImages]):
    """The base of datasets that only load."""

    def save(self, data: None) -> None:  # noqa: ARG002
        """Refuse."""
        raise InputError(f"raw_images: {type(self).__name__} only loads")


class TorchvisionImages(ReadOnly):
    """A dataset that torchvision reads, from a folder that holds it, or downloaded into it.

    Args:
        name: the dataset's class in torchvision: CIFAR10, CIFAR100, SVHN, MNIST, FashionMNIST or KMNIST.
        path: the folder that holds ``cifar-10-batches-py``, ``train_32x32.mat`` or ``MNIST/raw``, or is to hold it.
        channels: of images that have one: 1 keeps it, 3 repeats it.
        md5: the MD5 of each file, where it is not the published data: a file name -> hexadecimal digits.
        download: fetch it where no file of it is there.
        metadata: for kedro-viz.

    Example:
        ```yaml
        raw_images:
          type: unlearnable.sources.raw.TorchvisionImages
          name: CIFAR10
          path: ${param:data_root}
        ```
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        channels: int = 3,
        md5: dict[str, str] | None = None,
        download: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if name not in PUBLISHED:
            known = list(PUBLISHED)
            raise InputError(f"raw_images: expected name {', '.join(known[:-1])} or {known[-1]}, got '{name}'{nearest(name, known)}")
        if channels not in (1, 3):
            raise InputError(f"raw_images.channels: expected 1 or 3, got {channels!r}")
        kind, self.num_classes = PUBLISHED[name]
        self.published = kind(name, md5 or {})
        self.path, self.channels, self.download, self.metadata = Path(path), channels, download, metadata

    def load(self) -> RawImages:
        """Return the whole dataset.

        Raises:
            InputError: a file is missing or damaged, or the download failed.
        """
        self._require_files()
        return RawImages(train=self._read(train=True), test=self._read(train=False))

    def _require_files(self) -> None:
        """Check the MD5 of every file before any is unpickled; download the dataset where none is there."""
        from torchvision.datasets.utils import check_integrity

        if self.download and not self.published.is_there(self.path):
            self._fetch()
        for file, md5 in self.published.files().items():
            if not (self.path / file).is_file():
                raise InputError(f"raw_images: expected the file {self.path / file}, which is missing (data_root is '{self.path}')")
            if not check_integrity(self.path / file, md5):
                raise InputError(f"raw_images: {self.path / file} is damaged: expected MD5 {md5}")

    def _fetch(self) -> None:
        try:
            self.published.fetch(self.path)
        except (OSError, RuntimeError) as error:
            expected = f"expected {self.published.told} in {self.path}, got none, and the download failed ({' '.join(str(error).split())})"
            raise InputError(f"raw_images: {expected}; set data_root to a folder that holds it") from error

    def _read(self, *, train: bool) -> LabelledImages:
        images, labels = self.published.read(self.path, train=train)
        if images.shape[1] == 1 and self.channels == 3:
            images = images.repeat(3, axis=1)
        try:
            return LabelledImages(images=images, labels=labels, num_classes=self.num_classes)
        except InputError as error:
            raise InputError(f"raw_images, {self.path / self.published.place}: {error}") from None

    def _describe(self) -> dict[str, Any]:
        return {"name": self.published.name, "path": str(self.path)}
