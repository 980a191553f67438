"""The one array form of images with labels, and a projection through which they may be seen."""

import hashlib
import math
from dataclasses import dataclass, field, replace
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

RANK = 4  # (N, C, H, W)
CHUNK = 1024  # images that are looked at together
LARGE = 2**31  # bytes; larger arrays are on the disk


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """The linear map ``x -> x - (x - centre) Q Q^T`` on flattened images in [0, 1].

    Args:
        basis: Q, float32 (D, K), orthonormal columns: the directions that are removed.
        centre: float32 (D,), the point that stays where it is; zeros for the published Orthogonal Projection.
        seconds: that it took to find them.
    """

    basis: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float32]
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.basis.ndim != 2 or self.centre.shape != self.basis.shape[:1]:
            raise InputError(f"projection: expected basis (D, K) and centre (D,), got {self.basis.shape} and {self.centre.shape}")

    def __call__(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return images (N, ...), in units of [0, 1], projected: they leave that range."""
        flat: Any = images.reshape(len(images), -1)
        projected: npt.NDArray[np.float32] = (flat - (flat - self.centre) @ self.basis @ self.basis.T).reshape(images.shape)
        return projected

    @property
    def removed_directions(self) -> int:
        """The number K of directions removed."""
        return int(self.basis.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Images with labels, checked when made.

    A recovered set is the poisoned set and the projection that removes the shortcut from it: projected pixels leave
    [0, 1] and are never clipped or rounded, so they are computed in float32 where they are used. Then ``images`` alone are those of the
    poisoned set, and ``pixels()`` and ``to_torch()`` give what is to be trained on.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), each in [0, num_classes).
        num_classes: the number of classes.
        projection: what the images are to be seen through, or None.
        ids: int64 (N,), distinct: the place of each image in the training (or test) set as its makers publish it, which
            is what a released poison is indexed by. Empty numbers them from 0.
        class_names: what each class is called, where it has a name; for messages.
        published: how many images that published set has; 0 is one more than the largest id.
        seconds: that it took to make them from other images.

    Raises:
        InputError: shape, dtype or range differ.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    num_classes: int
    projection: Projection | None = None
    ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    class_names: tuple[str, ...] = ()
    published: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if len(self.ids) == 0:
            object.__setattr__(self, "ids", np.arange(len(self.images)))
        if self.images.ndim != RANK or self.images.dtype != np.uint8:
            raise InputError(f"images: expected uint8 (N, C, H, W), got {self.images.dtype} {self.images.shape}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise InputError(f"labels: expected int64 ({len(self.images)},), got {self.labels.dtype} {self.labels.shape}")
        if self.ids.shape != self.labels.shape or self.ids.dtype != np.int64 or len(np.unique(self.ids)) < len(self.ids):
            raise InputError(f"ids: expected distinct int64 ({len(self.images)},), got {self.ids.dtype} {self.ids.shape}")
        if len(self.labels) == 0:
            raise InputError("images: expected at least one image, got none")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.num_classes:
            raise InputError(f"labels: expected 0 to {self.num_classes - 1}, got {low} to {high}")
        if self.published == 0:
            object.__setattr__(self, "published", int(self.ids.max()) + 1)
        if self.projection is not None and len(self.projection.centre) != self.images[0].size:
            raise InputError(f"projection of {len(self.projection.centre)} pixels does not match images {self.images.shape}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        projected = "" if self.projection is None else f", less {self.projection.removed_directions} directions"
        return f"LabelledImages({len(self):,} of {shape}, {self.num_classes} classes{projected})"

    def pixels(self) -> npt.NDArray[np.float32]:
        """Return the images as they are to be seen: float32 (N, C, H, W) in units of [0, 1]; those of a projected set leave that range."""
        pixels: npt.NDArray[np.float32] = self.images.astype(np.float32) / np.float32(255)
        return pixels if self.projection is None else self.projection(pixels)

    def to_torch(self) -> "TensorDataset":
        """Return ``pixels()`` with their labels as a dataset of torch, for loaders and trainings of one's own."""
        import torch  # here, since images are described without it
        from torch.utils.data import TensorDataset

        return TensorDataset(torch.from_numpy(self.pixels()), torch.tensor(self.labels))

    def called(self, label: int) -> str:
        """Return what a class is called in messages: its name, or its number where it has none."""
        return f"'{self.class_names[label]}'" if self.class_names else str(label)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def subset(self, indices: npt.NDArray[np.int64]) -> "LabelledImages":
        """Return the images at ``indices``, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices], ids=self.ids[indices])

    def without_pixels(self) -> "LabelledImages":
        """Return the set with images of no pixels, for code that needs only labels and numbers: its subsets copy nothing."""
        return replace(self, images=self.images[:, :, :0, :0])

    def matching(self, other: "LabelledImages") -> "LabelledImages":
        """Return the images with the ids of ``other``, in its order: a released poison may cover a part of the set.

        Raises:
            InputError: one is missing here.
        """
        if np.array_equal(self.ids, other.ids):
            return self
        order = np.argsort(self.ids)
        places = order[np.searchsorted(self.ids, other.ids, sorter=order).clip(max=len(self) - 1)]
        missing = other.ids[self.ids[places] != other.ids]
        if len(missing):
            raise InputError(f"images: expected the id {missing[0]}, and {len(missing) - 1} more, among {len(self)}; got none")
        return self.subset(places)


def blank(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros; a large array is in a temporary file (in TMPDIR), which is removed with the array."""
    if math.prod(shape) * np.dtype(dtype).itemsize < LARGE:
        return np.zeros(shape, dtype)
    with TemporaryFile() as file:
        return np.memmap(file, dtype, mode="w+", shape=shape)


def channel_statistics(images: LabelledImages) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and standard deviation (C,) of each channel, in units of [0, 1]; a constant channel counts as 1."""
    levels = np.arange(256) / 255
    counts = np.zeros((images.shape[0], 256), dtype=np.int64)
    for start in range(0, len(images), CHUNK):  # a set may be larger than the memory
        chunk = images.images[start : start + CHUNK]
        counts += np.stack([np.bincount(chunk[:, c].ravel(), minlength=256) for c in range(images.shape[0])])
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    deviation = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(1))
    return mean, np.where(deviation > 0, deviation, 1.0)


def balanced_subset(images: LabelledImages, size: int | None, rng: np.random.Generator) -> LabelledImages:
    """Return ``size`` images, as many of each class as of any other within one, in their first order; None returns all.

    Raises:
        InputError: ``size`` is more than there are or less than one of each class, or a class has too few.
    """
    if size is None or size == len(images):
        return images
    if size < images.num_classes:
        raise InputError(f"subset: expected at least {images.num_classes} images, one of each class, got size {size}")
    if size > len(images):
        raise InputError(f"subset: expected at most {len(images)} images, got size {size}")
    counts = np.full(images.num_classes, size // images.num_classes)
    counts[rng.permutation(images.num_classes)[: size % images.num_classes]] += 1
    chosen = [_draw(images.labels, label, count, rng) for label, count in enumerate(counts)]
    return images.subset(np.sort(np.concatenate(chosen)))


def _draw(labels: npt.NDArray[np.int64], label: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    members = np.flatnonzero(labels == label)
    if len(members) < count:
        raise InputError(f"subset: expected at least {count} images of class {label}, got {len(members)}")
    return rng.choice(members, size=count, replace=False)


def require_every_class(images: LabelledImages) -> None:
    """Raise InputError if a class has no image."""
    empty = np.flatnonzero(np.bincount(images.labels, minlength=images.num_classes) == 0)
    if len(empty):
        raise InputError(f"expected images of each of the {images.num_classes} classes, got none of class {images.called(int(empty[0]))}")


def leaked(train: LabelledImages, test: LabelledImages) -> dict[int, int]:
    """Return the places of the test images that are, byte by byte, among the training images: of each that of its first twin there."""
    known: dict[bytes, int] = {}
    for place, image in enumerate(np.ascontiguousarray(train.images)):
        known.setdefault(hashlib.sha256(image).digest(), place)
    twins = ((place, known.get(hashlib.sha256(image).digest())) for place, image in enumerate(np.ascontiguousarray(test.images)))
    return {place: twin for place, twin in twins if twin is not None}
