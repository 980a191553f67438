"""What a poison is, and how its perturbation becomes pixels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.register import Register

Perturbation = npt.NDArray[np.float32]
Poison = Callable[..., Perturbation]
POISONS: Register[Poison] = Register("poison")


def apply(clean: LabelledImages, perturbation: Perturbation) -> LabelledImages:
    """Return ``clean`` with ``perturbation`` added, clipped to [0, 1] and rounded to the nearest of 256 levels.

    Args:
        clean: images (N, C, H, W).
        perturbation: float32 (N, C, H, W), in units of [0, 1].

    Raises:
        InputError: where the shapes differ or a value is not finite.
    """
    if perturbation.shape != clean.images.shape:
        raise InputError(f"perturbation {perturbation.shape} does not match images {clean.images.shape}")
    if not np.isfinite(perturbation).all():
        raise InputError("perturbation: expected finite values, got NaN or infinity")
    images = perturbation * 255
    images += clean.images
    return replace(clean, images=images.clip(0, 255, out=images).round(out=images).astype(np.uint8))


def craft(name: str, clean: LabelledImages, *, seed: int, settings: dict[str, Any]) -> LabelledImages:
    """Return ``clean`` poisoned by the recipe of that name.

    Raises:
        InputError: where the name is unknown.
    """
    return apply(clean, POISONS[name](clean, seed=seed, **settings))
