"""A poison for images of any size. It is crafted once, on squares of one size, and then adapted to the size of each image.

So all images of a class share the pattern by which a network tells that class. The perturbation covers the square in the middle of the
image, which is the part that most trainings see, and is mirrored beyond it. Flat areas grow with the image; any other noise is resized.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import Perturbation, apply, budget_named, is_made_at_any_size
from unlearnable.poisons.budget import Budget

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Protection:
    """A perturbation for each of some images.

    Args:
        perturbation: float32 (N, C, S, S), in units of [0, 1], for the square in the middle of each image at S x S pixels.
        ids: int64 (N,), the distinct ids of the images.
        poison: its name.
        settings: the settings of the poison.
        seed: the seed it was crafted with.
    """

    perturbation: Perturbation
    ids: npt.NDArray[np.int64]
    poison: str
    settings: Mapping[str, Any]
    seed: int

    @property
    def side(self) -> int:
        """The side S, in pixels, of the squares that the poison was crafted on."""
        return int(self.perturbation.shape[-1])

    @property
    def made(self) -> str:
        """How the perturbation is adapted to the size of an image, in words."""
        square = f"{self.side} x {self.side} pixels"
        return f"for each size, from a pattern of {square}" if is_made_at_any_size(self.poison) else f"at {square} and resized"

    @property
    def budget(self) -> Budget:
        """How much an image of S x S pixels may change."""
        return budget_named(self.poison, dict(self.settings))

    @cached_property
    def _places(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self.ids.tolist())}

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def apply(self, number: int, image: Pixels) -> Pixels:
        """Return an image (C, H, W), uint8, with the perturbation of the image with this id, rounded to 256 levels.

        Raises:
            InputError: the image has changed by more than the settings allow; an L2 bound grows with the root of the number of pixels.
        """
        limit = _at_size(self.budget, image.shape, self.side)
        noise = resized(self.perturbation[self._places[number]], image.shape[1], image.shape[2], flat=is_made_at_any_size(self.poison))
        if limit.l2 is not None:  # mirroring may repeat the strongest part
            noise *= min(1.0, limit.l2 / max(float(np.linalg.norm(noise)), 1e-12))
        alone = LabelledImages(images=image[None], labels=np.zeros(1, np.int64), num_classes=1)
        changed = apply(alone, noise[None]).images
        if excess := limit.excess(alone.images, changed):
            raise InputError(f"poison '{self.poison}': expected a change of {excess}")
        return np.asarray(changed[0])


def resized(perturbation: Perturbation, height: int, width: int, *, flat: bool) -> Perturbation:
    """Return a square perturbation (C, S, S) for an image of this height and width: resized to its middle square, mirrored beyond it.

    Args:
        perturbation: float32, in any units.
        height: in pixels.
        width: in pixels.
        flat: whether each pixel becomes an area of one value; otherwise values between pixels are interpolated.
    """
    side = min(height, width)
    square = perturbation
    if side != perturbation.shape[-1]:
        how: dict[str, Any] = {"mode": "nearest-exact"} if flat else {"mode": "bilinear", "antialias": True}
        square = F.interpolate(torch.from_numpy(perturbation)[None], (side, side), **how)[0].numpy()
    return np.pad(square, ((0, 0), _around(height, side), _around(width, side)), mode="symmetric")


def _around(length: int, side: int) -> tuple[int, int]:
    """Return how many pixels are left before and after a part in the middle."""
    before = (length - side) // 2
    return before, length - side - before


def _at_size(budget: Budget, shape: tuple[int, ...], square: int) -> Budget:
    """Return the budget of an image (C, H, W), given that of a square: the norm grows with the root of the number of pixels."""
    _, height, width = shape
    side = min(height, width)
    copies = math.prod(1 + 2 * math.ceil(_around(length, side)[1] / side) for length in (height, width))  # by mirroring
    return budget.at(math.sqrt(height * width) / square, math.ceil(side / square) ** 2 * copies)
