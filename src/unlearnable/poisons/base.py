"""What a poison is, and how its perturbation becomes pixels."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unlearnable.errors import InputError
from unlearnable.images import CHUNK, LabelledImages, blank
from unlearnable.poisons.budget import Budget, budget_of
from unlearnable.register import Register
from unlearnable.signatures import nested
from unlearnable.training import Progress, Report, ignore, no_report

Perturbation = npt.NDArray[np.float32]
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crafting:
    """What a poison gets apart from its settings.

    Args:
        seed: decides every draw.
        device: holds the images and the surrogate.
        progress: called with steps done and steps in all.
        report: called after each round of a surrogate with its number, from 1, and what was measured in it.
    """

    seed: int = 0
    device: torch.device = CPU
    progress: Progress = ignore
    report: Report = no_report


Poison = Callable[..., Perturbation]  # (clean, crafting, *, settings)
POISONS: Register[Poison] = Register("poison")
Requirement = Callable[..., None]  # (clean, *, settings); raises InputError


def required_by(*names: str) -> Callable[[Requirement], Requirement]:
    """Register the decorated function as the check of clean images for these poisons; it runs before any training."""

    def keep(requirement: Requirement) -> Requirement:
        POISONS.note("requirement", requirement, *names)
        return requirement

    return keep


def turns_pixels(count: int, *names: str) -> None:
    """Note that these poisons turn so many pixels of an image into any colour, whatever bound they have for the others."""
    POISONS.note("pixels", count, *names)


def made_at_any_size(*names: str) -> None:
    """Note that the patterns of these poisons are flat areas, so that they are made for images of any size: areas grow with the image.

    The noise of any other poison is made at one size and resized.
    """
    POISONS.note("any size", True, *names)


def is_made_at_any_size(name: str) -> bool:
    """Return whether the pattern of that poison is made for images of any size."""
    return bool(POISONS.noted("any size", name))


def require(name: str, clean: LabelledImages, settings: dict[str, Any]) -> None:
    """Raise InputError if the poison of that name cannot be crafted on images like ``clean``, as far as that is known beforehand."""
    if requirement := POISONS.noted("requirement", name):
        requirement(clean, **nested(POISONS[name], settings))


def apply(clean: LabelledImages, perturbation: Perturbation) -> LabelledImages:
    """Return ``clean`` with ``perturbation`` added, clipped to [0, 1] and rounded to the nearest of 256 levels.

    Args:
        clean: images (N, C, H, W).
        perturbation: float32 (N, C, H, W), in units of [0, 1].

    Raises:
        InputError: the shapes differ or a value is not finite.
    """
    if perturbation.shape != clean.images.shape:
        raise InputError(f"perturbation {perturbation.shape} does not match images {clean.images.shape}")
    images = blank(clean.images.shape, np.uint8)
    for start in range(0, len(clean), CHUNK):
        part = slice(start, start + CHUNK)
        moved = perturbation[part] * 255
        if not np.isfinite(moved).all():
            raise InputError("perturbation: expected finite values, got NaN or infinity")
        moved += clean.images[part]
        images[part] = moved.clip(0, 255, out=moved).round(out=moved)
    return replace(clean, images=images)


def of_each_class(patterns: Perturbation, clean: LabelledImages) -> Perturbation:
    """Return for each image the pattern (K, C, H, W) of its class."""
    perturbation = blank(clean.images.shape, np.float32)
    return np.take(patterns, clean.labels, axis=0, out=perturbation, mode="clip")  # the default mode copies what it is to fill


def scaled_to_l2(patterns: Perturbation, l2: float) -> Perturbation:
    """Return ``patterns`` (M, C, H, W), each scaled to the norm ``l2`` in units of [0, 1]."""
    norms = np.sqrt(np.square(patterns, dtype=np.float64).sum((1, 2, 3), keepdims=True))
    scaled: Perturbation = (patterns * (l2 / norms)).astype(np.float32)
    return scaled


def perturb(name: str, clean: LabelledImages, crafting: Crafting, *, settings: dict[str, Any]) -> Perturbation:
    """Return the perturbation of ``clean`` by the recipe of that name; raise InputError if the name is unknown."""
    poison = POISONS[name]
    return poison(clean, crafting, **nested(poison, settings))


def craft(name: str, clean: LabelledImages, crafting: Crafting, *, settings: dict[str, Any]) -> LabelledImages:
    """Return ``clean`` poisoned by the poison of that name, with the seconds that it took.

    Raises:
        InputError: the name is unknown, or an image has changed by more than the settings say.
    """
    start = time.perf_counter()
    poisoned = apply(clean, perturb(name, clean, crafting, settings=settings))
    require_budget(name, settings, clean, poisoned)
    return replace(poisoned, seconds=time.perf_counter() - start)


def budget_named(name: str, settings: dict[str, Any]) -> Budget:
    """Return the budget of the poison of that name with these settings."""
    return budget_of(POISONS[name], settings, POISONS.noted("pixels", name))


def require_budget(name: str, settings: dict[str, Any], clean: LabelledImages, poisoned: LabelledImages) -> None:
    """Raise InputError if poisoned images, rounded to 256 levels, differ from clean ones by more than the settings of the poison say."""
    budget = budget_named(name, settings)
    for start in range(0, len(clean), CHUNK):
        part = slice(start, start + CHUNK)
        if excess := budget.excess(clean.images[part], poisoned.images[part]):
            raise InputError(f"poison '{name}': expected a change of {excess}")
