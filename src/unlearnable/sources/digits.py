"""The built-in dataset: scikit-learn's handwritten digits on patches of scikit-learn's two photographs.

Made of real pixels and without a download, as MNIST-M is made (Ganin et al., "Domain-Adversarial Training of Neural
Networks", 2016, Section 5.2.1): the absolute difference of digit and patch, channel by channel.
"""

import hashlib
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.seeds import derive, numpy_generator
from unlearnable.sources.raw import RawImages, ReadOnly

SIDE = 32
SMALLEST, LARGEST = 14, 26  # pixels, the side of a digit
CLASSES = 10
SOURCES = ("data/digits.csv.gz", "images/china.jpg", "images/flower.jpg")  # inside sklearn.datasets


class DigitsOnPhotographs(ReadOnly):
    """Digits of any size and place on patches of two photographs, 32x32 RGB, made when it is loaded.

    No handwritten digit is in both the training and the test set.

    Args:
        name: of the dataset, in paths and scores.
        train_size: images made for training.
        test_size: images made for testing.
        seed: decides the split and every image.
        sha256: of the three source files together, so that a changed source is noticed.
        metadata: for kedro-viz.

    Example:
        ```yaml
        raw_images:
          type: unlearnable.sources.digits.DigitsOnPhotographs
          name: digits
          train_size: 6000
          test_size: 1000
          seed: 0
        ```
    """

    def __init__(
        self,
        *,
        name: str,
        train_size: int,
        test_size: int,
        seed: int,
        sha256: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.name, self.sizes, self.seed, self.sha256, self.metadata = name, (train_size, test_size), seed, sha256, metadata

    def load(self) -> RawImages:
        """Return the dataset; raise InputError if scikit-learn's files are not the ones expected."""
        from sklearn.datasets import load_digits, load_sample_images  # here, since they take a second
        from sklearn.model_selection import train_test_split

        found = sources_sha256()
        if self.sha256 not in (None, found):
            raise InputError(f"raw_images: expected scikit-learn's digits and photographs with SHA-256 {self.sha256}, got {found}")
        bunch = load_digits()
        digits = (bunch.images * (255 / 16)).astype(np.uint8)
        parts = train_test_split(
            np.arange(len(digits)), test_size=0.2, stratify=bunch.target, random_state=derive(self.seed, "digits/split") % 2**32
        )
        photographs = load_sample_images().images
        train, test = (
            _blend(digits[part], bunch.target[part], photographs, size, numpy_generator(self.seed, f"digits/{purpose}"))
            for part, size, purpose in zip(parts, self.sizes, ("train", "test"), strict=True)
        )
        return RawImages(train=train, test=test)

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "sizes": self.sizes, "seed": self.seed}


def sources_sha256() -> str:
    """Return the SHA-256 of scikit-learn's files that the images are made of."""
    root = resources.files("sklearn.datasets")
    return hashlib.sha256(b"".join((root / name).read_bytes() for name in SOURCES)).hexdigest()


def _blend(
    digits: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.int64],
    photographs: list[npt.NDArray[np.uint8]],
    size: int,
    rng: np.random.Generator,
) -> LabelledImages:
    """Make ``size`` images, the classes in turn."""
    labels = np.arange(size, dtype=np.int64) % CLASSES
    members = [np.flatnonzero(targets == label) for label in range(CLASSES)]
    images = np.empty((size, SIDE, SIDE, 3), dtype=np.uint8)
    for index, label in enumerate(labels):
        patch = _patch(photographs[rng.integers(len(photographs))], rng)
        canvas = _placed(digits[rng.choice(members[label])], rng)
        images[index] = np.abs(patch.astype(np.int16) - canvas[:, :, None])
    return LabelledImages(images=np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels=labels, num_classes=CLASSES)


def _patch(photograph: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    top, left = (int(rng.integers(limit - SIDE)) for limit in photograph.shape[:2])
    return photograph[top : top + SIDE, left : left + SIDE]


def _placed(digit: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return the digit (8, 8) at a random size and place on a black square."""
    side = int(rng.integers(SMALLEST, LARGEST + 1))
    top, left = (int(v) for v in rng.integers(SIDE - side + 1, size=2))
    canvas = np.zeros((SIDE, SIDE), dtype=np.int16)
    canvas[top : top + side, left : left + side] = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    return canvas
