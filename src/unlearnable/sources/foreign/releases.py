"""A release as a table of values, and the arithmetic by which each release's own loader makes pixels of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.sources.foreign.pickles import Array

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be read, and how; the arguments of the catalog entry."""

    path: Path
    format: str
    rounding: str
    budget: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Release:
    """Values, and which of them belongs to which clean image.

    Args:
        values: (M, C, H, W).
        form: images, sample-wise, class-wise or universal.
        rounding: how levels are made of values: none, truncate or nearest.
        limits: the smallest and the largest value that is allowed.
        rows: int64 (n,), the row of ``values`` of each image.
        places: int64 (n,), the place of each image in the clean set.
        pixels: makes uint8 images of clean images and values.
    """

    values: Array
    form: str
    rounding: str
    limits: tuple[float, float]
    rows: Indices
    places: Indices
    pixels: Callable[[Pixels, Array], Array]

    def block(self, clean: LabelledImages, start: int) -> tuple[Pixels, Pixels]:
        """Return clean and poisoned images from ``start`` on; raise InputError if a value is out of range."""
        part = slice(start, start + BLOCK)
        values = self.values[self.rows[part]]
        low, high = self.limits
        if not (values.min() >= low and values.max() <= high):  # NaN compares as False
            raise InputError(f"expected values from {low:g} to {high:g}, got {values.min():g} to {values.max():g}")
        known = clean.images[self.places[part]]
        return known, to_levels(self.pixels(known, values), self.rounding)


def to_levels(levels: Array, rounding: str) -> Pixels:
    """Return values in [0, 255] as uint8."""
    return (levels.round() if rounding == "nearest" else levels).astype(np.uint8)


def stored(_: Pixels, values: Array) -> Array:
    """Return images that are stored whole."""
    return values


def plus_levels(clean: Pixels, values: Array) -> Array:
    """Add whole levels, as the loader of REM does."""
    return (clean.astype(np.int16) + values).clip(0, 255)


def plus_float32(clean: Pixels, values: Array) -> Array:
    """Add in units of levels, as the loader of EM does."""
    levels = clean.astype(np.float32)
    levels += (values * 255).clip(-255, 255)
    return levels.clip(0, 255)


def plus_unit(clean: Pixels, values: Array) -> Array:
    """Add in units of [0, 1] and float64, as the loaders of OPS and LSP do."""
    return (clean / 255 + values).clip(0, 1) * 255


def slack(rounding: str) -> float:
    """Return by how many levels making levels may move a value: half a level, or a whole one if it is truncated."""
    return 1.0 if rounding == "truncate" else 0.5
