"""Datasets that torchvision reads, each in its makers' own files. torchvision is imported when first asked, which takes a second."""

import gzip
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
SIDE = 28  # of images of MNIST and those of its form


class Published:
    """A dataset's files below a folder, and what they hold.

    Args:
        name: of the class in torchvision.
        md5: the MD5 of each file that is not the published one.
    """

    def __init__(self, name: str, md5: dict[str, str]) -> None:
        self.name, self.md5 = name, md5

    @cached_property
    def reader(self) -> Any:
        """Torchvision's class."""
        from torchvision import datasets

        return getattr(datasets, self.name)

    def files(self) -> dict[str, str]:
        """Return the MD5 of each file, by its path from the folder on."""
        return {str(Path(self.place) / file): self.md5.get(file, published) for file, published in self.published().items()}

    @property
    def place(self) -> str:
        """The sub-folder of the files."""
        raise NotImplementedError

    def published(self) -> dict[str, str]:
        """Return the published MD5 of each file."""
        raise NotImplementedError

    @property
    def told(self) -> str:
        """What an error calls the files together."""
        return self.place

    def is_there(self, root: Path) -> bool:
        """Return whether something of the dataset is there, be it an empty folder of its own."""
        return (root / self.place).exists()

    def fetch(self, root: Path) -> None:
        """Download the files; raise OSError or RuntimeError where that fails."""
        self.reader(root, download=True)

    def read(self, root: Path, *, train: bool) -> tuple[Pixels, Labels]:
        """Return images uint8 (N, C, H, W) and labels int64 (N,) of files that have been checked."""
        raise NotImplementedError


class Cifar(Published):
    """CIFAR-10 and CIFAR-100: pickled batches."""

    @property
    def place(self) -> str:
        """The sub-folder of the batches."""
        return str(self.reader.base_folder)

    def published(self) -> dict[str, str]:
        """Return the published MD5 of each batch."""
        meta = self.reader.meta
        return dict([*self.reader.train_list, *self.reader.test_list, [meta["filename"], meta["md5"]]])

    def read(self, root: Path, *, train: bool) -> tuple[Pixels, Labels]:
        """Return a set, once more checked by torchvision."""
        found = self._expecting()(root, train=train)
        return np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)), np.asarray(found.targets, dtype=np.int64)

    def _expecting(self) -> Any:
        """Return torchvision's class, expecting our hashes."""
        named = {
            part: [[file, self.md5.get(file, published)] for file, published in getattr(self.reader, part)]
            for part in ("train_list", "test_list")
        }
        meta = self.reader.meta | {"md5": self.md5.get(self.reader.meta["filename"], self.reader.meta["md5"])}
        return type(self.name, (self.reader,), {**named, "meta": meta})


class Svhn(Published):
    """SVHN: MATLAB files; the label 10 is the digit 0."""

    @property
    def place(self) -> str:
        """The folder itself."""
        return "."

    def published(self) -> dict[str, str]:
        """Return the published MD5 of the two files."""
        return {file: md5 for _, file, md5 in (self.reader.split_list[part] for part in ("train", "test"))}

    @property
    def told(self) -> str:
        """The two files: they have no folder of their own."""
        return ", ".join(self.published())

    def is_there(self, root: Path) -> bool:
        """Return whether one of the files is there."""
        return any((root / file).exists() for file in self.published())

    def fetch(self, root: Path) -> None:
        """Download both files."""
        for part in ("train", "test"):
            self.reader(root, split=part, download=True)

    def read(self, root: Path, *, train: bool) -> tuple[Pixels, Labels]:
        """Return a set."""
        from scipy.io import loadmat

        content = loadmat(root / ("train_32x32.mat" if train else "test_32x32.mat"))
        return np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1)), content["y"].astype(np.int64).reshape(-1) % 10


class Mnist(Published):
    """MNIST and those of its form: gzipped arrays, one channel. They are read as they were published, not from extracted files."""

    @property
    def place(self) -> str:
        """The sub-folder of the archives."""
        return f"{self.name}/raw"

    def published(self) -> dict[str, str]:
        """Return the published MD5 of each archive."""
        return dict(self.reader.resources)

    def read(self, root: Path, *, train: bool) -> tuple[Pixels, Labels]:
        """Return a set; the numbers follow 16 bytes of an archive of images, and 8 bytes of one of labels."""
        archives = (("images-idx3-ubyte.gz", 16), ("labels-idx1-ubyte.gz", 8))
        folder, part = root / self.place, "train" if train else "t10k"
        contents = (bytearray(gzip.decompress((folder / f"{part}-{file}").read_bytes()))[start:] for file, start in archives)
        images, labels = (np.frombuffer(content, dtype=np.uint8) for content in contents)
        return images.reshape(-1, 1, SIDE, SIDE), labels.astype(np.int64)


PUBLISHED: dict[str, tuple[type[Published], int]] = {  # how each is read, and its number of classes
    "CIFAR10": (Cifar, 10),
    "CIFAR100": (Cifar, 100),
    "SVHN": (Svhn, 10),
    "MNIST": (Mnist, 10),
    "FashionMNIST": (Mnist, 10),
    "KMNIST": (Mnist, 10),
}
