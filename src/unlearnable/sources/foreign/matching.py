"""Which clean image each released image is made from, where a release is shuffled and says only the class."""

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages

BLOCK = 256
SLACK = 1000.0  # of squared distances in float32, in squared levels: rounding errors are far below


def match(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], clean: LabelledImages, levels: int) -> npt.NDArray[np.int64]:
    """Return for each of ``images`` (M, C, H, W) the place in ``clean`` of the one image of its class within ``levels``, or -1.

    Among the images of CIFAR-10 no two of a class are nearer to each other than 32 levels, so that 8 levels leave no doubt.

    Raises:
        InputError: there are two candidates, or two of ``images`` have the same one.
    """
    places = np.full(len(images), -1)
    for label in range(clean.num_classes):
        released, known = (np.flatnonzero(found == label) for found in (labels, clean.labels))
        if len(released) and len(known):
            for start in range(0, len(released), BLOCK):
                rows = released[start : start + BLOCK]
                places[rows] = _nearest(images[rows], rows, clean, known, levels)
    _require_each_once(places, clean)
    return places


def _nearest(
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    clean: LabelledImages,
    known: npt.NDArray[np.int64],
    levels: int,
) -> npt.NDArray[np.int64]:
    """Return the places for a block of one class: candidates by distance, decided by exact comparison."""
    found = np.full(len(images), -1)
    limit = images[0].size * levels**2 + SLACK
    flat = _centred(images)
    for start in range(0, len(known), 8 * BLOCK):
        part = known[start : start + 8 * BLOCK]
        others = _centred(clean.images[part])
        distances = (flat**2).sum(1)[:, None] + (others**2).sum(1) - 2 * flat @ others.T
        for row, column in np.argwhere(distances <= limit):
            difference = images[row].astype(np.int16) - clean.images[part[column]]
            if np.abs(difference).max() > levels:
                continue
            if found[row] >= 0:
                both = clean.ids[found[row]], clean.ids[part[column]]
                raise InputError(f"expected one clean image within {levels} levels of image {rows[row]}, got {both[0]} and {both[1]}")
            found[row] = part[column]
    return found


def _centred(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) - np.float32(128)


def _require_each_once(places: npt.NDArray[np.int64], clean: LabelledImages) -> None:
    taken, counts = np.unique(places[places >= 0], return_counts=True)
    if (counts > 1).any():
        place = taken[counts > 1][0]
        first, second, *_ = np.flatnonzero(places == place)
        raise InputError(f"expected each clean image once, got {clean.ids[place]} for the images {first} and {second}")
