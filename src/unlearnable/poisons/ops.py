"""One-pixel shortcuts: Wu et al., "One-Pixel Shortcut: On the Learning Preference of Deep Neural Networks" (ICLR 2023).

The search is that of the authors' published code (perturb.py).
"""

from itertools import product

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import CHUNK, LabelledImages, blank
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, made_at_any_size, required_by, turns_pixels

Sums = npt.NDArray[np.int64]

turns_pixels(1, "ops")
made_at_any_size("ops")


@required_by("ops", "ops_plus_em")
def require_pixels(clean: LabelledImages, **others: object) -> None:  # noqa: ARG001
    """Raise InputError if there are more classes than pairs of a pixel and a colour."""
    channels, height, width = clean.shape
    most = height * width * 2**channels
    if clean.num_classes > most:
        raise InputError(f"poison 'ops': expected at most {most} classes, one pixel and colour each, got {clean.num_classes}")


@POISONS.add("ops")
def ops(clean: LabelledImages, crafting: Crafting) -> Perturbation:  # noqa: ARG001
    """Return perturbations that turn one pixel of every image into the colour of its class there.

    For each class, the pair of a pixel and a corner colour (each channel 0 or 1) is taken that has the highest ratio of
    mean to standard deviation of |colour - pixel|, both over the images and the channels together. A pair that an
    earlier class took is left out; its pixel may be taken again with another colour. The seed changes nothing.

    Raises:
        InputError: there are more classes than pairs.
    """
    return with_shortcuts(clean, blank(clean.images.shape, np.float32))


def with_shortcuts(clean: LabelledImages, perturbation: Perturbation) -> Perturbation:
    """Return ``perturbation`` (N, C, H, W) with the shortcut of each class in it; the search looks at the clean images only."""
    require_pixels(clean)
    taken: list[tuple[int, ...]] = []
    for label in range(clean.num_classes):
        members = np.flatnonzero(clean.labels == label)
        if len(members):
            scores = _scores(clean.images[members])
            for pair in taken:
                scores[pair] = -np.inf
            *colour, y, x = (int(place) for place in np.unravel_index(int(scores.argmax()), scores.shape))
            taken.append((*colour, y, x))
            perturbation[members, :, y, x] = colour - clean.images[members, :, y, x].astype(np.float32) / 255
    return perturbation


def _scores(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return mean / deviation of |colour - pixel| for uint8 images (N, C, H, W) as an array of shape (2,) * C + (H, W).

    The sums over images are whole numbers, so they are exact, and each of the 2**C colours only picks one of them a channel.
    """
    sums = _sums(images)
    found = np.empty((2,) * images.shape[1] + images.shape[2:])
    for colour in product((0, 1), repeat=images.shape[1]):
        distance, square = (sum(sums[power, corner, channel] for channel, corner in enumerate(colour)) for power in (0, 1))
        count = images.shape[0] * images.shape[1]
        deviation = np.sqrt(count * square - distance**2)  # times the count, as the distance is
        found[colour] = np.divide(distance, deviation, out=np.where(distance > 0, np.inf, 0.0), where=deviation > 0)
    return found


def _sums(images: npt.NDArray[np.uint8]) -> Sums:
    """Return the sums over images (2, 2, C, H, W): of distances and of their squares, from the corners 0 and 255."""
    sums = np.zeros((2, 2, *images.shape[1:]), dtype=np.int64)
    for part in np.split(images, range(CHUNK, len(images), CHUNK)):
        for corner, distances in enumerate((part.astype(np.int32), 255 - part.astype(np.int32))):
            sums[0, corner] += distances.sum(0)
            sums[1, corner] += np.square(distances).sum(0)
    return sums
