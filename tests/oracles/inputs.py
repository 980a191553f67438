"""Inputs of the references' runs, made by whole-number arithmetic so that whoever runs a reference again has the same ones."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from unlearnable.images import LabelledImages


def pixels(count: int, *, channels: int = 3, side: int = 32) -> npt.NDArray[np.uint8]:
    """Return images (count, channels, side, side) of every level, no two alike."""
    n, c, y, x = np.ogrid[:count, :channels, :side, :side]
    return ((37 * n * n + 13 * n * x + 7 * (n + 1) * y + 11 * c * y + 5 * x * x + 29 * c) % 256).astype(np.uint8)


def labelled(count: int, *, classes: int, channels: int = 3, side: int = 32) -> LabelledImages:
    """Return ``pixels`` with the classes in turn."""
    labels = np.arange(count, dtype=np.int64) % classes
    return LabelledImages(images=pixels(count, channels=channels, side=side), labels=labels, num_classes=classes)


def fractions(*shape: int) -> npt.NDArray[np.float32]:
    """Return numbers in [0, 1), in place of what a method and its reference draw at random: both are given the same ones."""
    index = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    return ((31 * index * index + 17 * index + 3) % 1009 / 1009).astype(np.float32)


def weights(*shape: int) -> torch.Tensor:
    """Return numbers in [-1, 1)."""
    return torch.from_numpy(2 * fractions(*shape) - 1)


def network(*, classes: int, channels: int = 3, side: int = 8) -> nn.Sequential:
    """Return a network of one convolution whose weights are set by hand, so that no generator decides a reference's run."""
    convolution, linear = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4 * side * side, classes)
    with torch.no_grad():
        for parameter, scale in zip([*convolution.parameters(), *linear.parameters()], (0.3, 0.1, 0.1, 0.1), strict=True):
            parameter.copy_(scale * weights(*parameter.shape))
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), linear)


def moved(images: torch.Tensor, number: int) -> torch.Tensor:
    """Return images rolled by ``number`` pixels, and mirrored where it is odd, in place of a random crop and flip."""
    rolled = images.roll((number, 2 * number), (2, 3))
    return rolled.flip(3) if number % 2 else rolled


def inward(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return numbers in place of normal draws whose signs lead away from the nearer end of the range of pixels."""
    return 2 * weights(*images.shape).abs() * torch.from_numpy(np.where(images < 128, 1, -1))


def planted() -> npt.NDArray[np.uint8]:
    """Return six images (6, 3, 8, 8) without black and white; each of three classes has a pixel that is nearly the same in all its images.

    It is where a one-pixel shortcut is put, with or without noise on the images.
    """
    images = pixels(6, side=8) // 2 + 64
    for label, level in enumerate((70, 100, 180)):
        images[label::3, :, 2 * label + 1, label + 2] = level + np.arange(6).reshape(2, 3) % 4
    return images
