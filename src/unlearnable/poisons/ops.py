"""One-pixel shortcuts: Wu et al., "One-Pixel Shortcut: On the Learning Preference of Deep Neural Networks" (ICLR 2023)."""

from itertools import product

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, blank
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, required_by


@required_by("ops", "ops_plus_em")
def require_pixels(clean: LabelledImages, **others: object) -> None:  # noqa: ARG001
    """Raise InputError where there are more classes than pixels."""
    _, height, width = clean.shape
    if clean.num_classes > height * width:
        raise InputError(f"poison 'ops': expected at most {height * width} classes, one pixel each, got {clean.num_classes}")


@POISONS.add("ops")
def ops(clean: LabelledImages, crafting: Crafting) -> Perturbation:  # noqa: ARG001
    """Return what turns one pixel of every image into the colour that its class owns there.

    For each class the place and the corner colour (each channel 0 or 1) are taken at which the mean distance between
    the images and that colour is largest in units of its deviation over the class; a place taken by a class before is
    left out. It is a search without chance: the seed changes nothing.

    Raises:
        InputError: where there are more classes than pixels.
    """
    require_pixels(clean)
    _, height, width = clean.shape
    perturbation = blank(clean.images.shape, np.float32)
    free = np.ones((height, width), dtype=bool)
    for label in range(clean.num_classes):
        members = np.flatnonzero(clean.labels == label)
        if len(members):
            colour, (y, x) = _best(clean.images[members], free)
            free[y, x] = False
            perturbation[members, :, y, x] = colour - clean.images[members, :, y, x].astype(np.float32) / 255
    return perturbation


def _best(images: npt.NDArray[np.uint8], free: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """Return the colour (C,) and the free place whose distance over ``images`` is largest and steadiest."""
    pixels = images.astype(np.float32) / np.float32(255)
    colours = [np.array(corner, dtype=np.float32) for corner in product((0, 1), repeat=pixels.shape[1])]
    scores = np.stack([np.where(free, _score(pixels, colour), -np.inf) for colour in colours])
    best, y, x = np.unravel_index(int(scores.argmax()), scores.shape)
    return colours[int(best)], (int(y), int(x))


def _score(pixels: npt.NDArray[np.float32], colour: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return mean over deviation (H, W) of the distance, summed over channels, between ``pixels`` (N, C, H, W) and ``colour``."""
    distance = np.abs(pixels - colour[:, None, None], dtype=np.float32).sum(1)
    score: npt.NDArray[np.float32] = distance.mean(0) / (distance.std(0) + np.float32(1e-6))
    return score
