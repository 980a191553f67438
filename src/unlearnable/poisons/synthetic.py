"""Synthetic class-wise noise: no image and no network decides it.

``classwise_random`` is the control of Huang et al., "Unlearnable Examples" (ICLR 2021). The paper published
only images of its regions and patches, and no generator; the definitions here are ours:

- regions: the image is cut into a grid of equal rectangles, each of one colour;
- patches: one square tile of random pixels is repeated over the whole image.

They are drawn for each class: colours uniform in [-linf, linf] in every channel, or scaled to an L2 norm; pixels of a tile
-linf or linf, since fine patterns that are weaker are hardly learned.

The colours of ``sign_regions_*`` are -linf or linf in every channel too. The code of Zhu et al., "Detection and Defense of Unlearnable
Examples" (AAAI 2024), draws regions so: no pattern has a larger norm within the bound.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, Poison, made_at_any_size, of_each_class, required_by, scaled_to_l2
from unlearnable.ranges import POSITIVE, POSITIVE_FRACTION
from unlearnable.seeds import numpy_generator

Linf = Annotated[float, POSITIVE_FRACTION]

made_at_any_size("classwise_random", "patches_4", "patches_8")


def require_grid(clean: LabelledImages, *, name: str, **others: object) -> None:  # noqa: ARG001
    """Raise InputError if images cannot be cut into the grid of equal rectangles of that poison."""
    side = _side(name)
    _, height, width = clean.shape
    if height % side or width % side:
        raise InputError(f"poison '{name}': expected images of a height and width divisible by {side}, got {height} x {width}")


def _side(name: str) -> int:
    """Return how many regions lie side by side: the name of a poison ends in how many there are in all."""
    return math.isqrt(int(name.rpartition("_")[2]))


def of_regions(name: str) -> Callable[[Poison], Poison]:
    """Register the decorated poison under ``name``: flat regions, which images of any size have and which must divide an image."""
    made_at_any_size(name)
    required_by(name)(partial(require_grid, name=name))
    return POISONS.add(name)


@POISONS.add("classwise_random")
def classwise_random(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the pattern of its class, each value uniform in [-linf, linf]; linf in units of [0, 1]."""
    return of_each_class(_drawn(clean, crafting, "classwise_random", clean.shape[1:], linf), clean)


@of_regions("regions_4")
def regions_4(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 2 x 2 flat regions of its class; linf in units of [0, 1]."""
    return of_each_class(_regions(clean, crafting, "regions_4", linf), clean)


@of_regions("regions_16")
def regions_16(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 4 x 4 flat regions of its class; linf in units of [0, 1]."""
    return of_each_class(_regions(clean, crafting, "regions_16", linf), clean)


@of_regions("regions_64")
def regions_64(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 8 x 8 flat regions of its class; linf in units of [0, 1]."""
    return of_each_class(_regions(clean, crafting, "regions_64", linf), clean)


@of_regions("sign_regions_4")
def sign_regions_4(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 2 x 2 flat regions of its class, each value -linf or linf, in units of [0, 1]."""
    return of_each_class(_sign_regions(clean, crafting, "sign_regions_4", linf), clean)


@of_regions("sign_regions_16")
def sign_regions_16(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 4 x 4 flat regions of its class, each value -linf or linf, in units of [0, 1]."""
    return of_each_class(_sign_regions(clean, crafting, "sign_regions_16", linf), clean)


@of_regions("sign_regions_64")
def sign_regions_64(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 8 x 8 flat regions of its class, each value -linf or linf, in units of [0, 1]."""
    return of_each_class(_sign_regions(clean, crafting, "sign_regions_64", linf), clean)


@of_regions("l2_regions_4")
def l2_regions_4(clean: LabelledImages, crafting: Crafting, *, l2: Annotated[float, POSITIVE] = 1.0) -> Perturbation:
    """Return for each image the 2 x 2 flat regions of its class, scaled to the norm ``l2`` in units of [0, 1]."""
    return of_each_class(scaled_to_l2(_regions(clean, crafting, "regions_4", 1.0), l2), clean)


@POISONS.add("patches_4")
def patches_4(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 4 x 4 tile of its class, repeated; linf in units of [0, 1]."""
    return of_each_class(_patches(clean, crafting, 4, linf), clean)


@POISONS.add("patches_8")
def patches_8(clean: LabelledImages, crafting: Crafting, *, linf: Linf = 8 / 255) -> Perturbation:
    """Return for each image the 8 x 8 tile of its class, repeated; linf in units of [0, 1]."""
    return of_each_class(_patches(clean, crafting, 8, linf), clean)


def _regions(clean: LabelledImages, crafting: Crafting, name: str, linf: float) -> npt.NDArray[np.float32]:
    """Draw patterns (K, C, H, W) of flat rectangles, their colours uniform in [-linf, linf]."""
    require_grid(clean, name=name)
    side = _side(name)
    _, height, width = clean.shape
    colours = _drawn(clean, crafting, name, (side, side), linf)
    return colours.repeat(height // side, axis=2).repeat(width // side, axis=3)


def _sign_regions(clean: LabelledImages, crafting: Crafting, name: str, linf: float) -> npt.NDArray[np.float32]:
    """Draw patterns (K, C, H, W) of flat rectangles, their colours -linf or linf in every channel."""
    patterns: npt.NDArray[np.float32] = np.float32(linf) * np.sign(_regions(clean, crafting, name, linf))
    return patterns


def _patches(clean: LabelledImages, crafting: Crafting, side: int, linf: float) -> npt.NDArray[np.float32]:
    """Draw patterns (K, C, H, W), each of one tile; at the right and lower edge a tile may be cut."""
    _, height, width = clean.shape
    tiles: npt.NDArray[np.float32] = np.float32(linf) * np.sign(_drawn(clean, crafting, f"patches_{side}", (side, side), linf))
    return np.tile(tiles, (1, 1, -(-height // side), -(-width // side)))[:, :, :height, :width]


def _drawn(clean: LabelledImages, crafting: Crafting, name: str, sides: tuple[int, ...], linf: float) -> npt.NDArray[np.float32]:
    """Draw values (K, C, height, width), uniform in [-linf, linf]."""
    rng = numpy_generator(crafting.seed, f"poison/{name}")
    return rng.uniform(-linf, linf, size=(clean.num_classes, clean.shape[0], *sides)).astype(np.float32)
