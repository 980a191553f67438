"""Inputs of the references' runs, made by whole-number arithmetic so that whoever runs a reference again has the same ones."""

import numpy as np
import numpy.typing as npt

from unlearnable.images import LabelledImages


def pixels(count: int, *, channels: int = 3, side: int = 32) -> npt.NDArray[np.uint8]:
    """Return images (count, channels, side, side) of every level, no two alike."""
    n, c, y, x = np.ogrid[:count, :channels, :side, :side]
    return ((37 * n * n + 13 * n * x + 7 * (n + 1) * y + 11 * c * y + 5 * x * x + 29 * c) % 256).astype(np.uint8)


def labelled(count: int, *, classes: int, channels: int = 3, side: int = 32) -> LabelledImages:
    """Return ``pixels`` with the classes in turn."""
    labels = np.arange(count, dtype=np.int64) % classes
    return LabelledImages(images=pixels(count, channels=channels, side=side), labels=labels, num_classes=classes)
