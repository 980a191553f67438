"""Linearly separable perturbations: Yu et al., "Availability Attacks Create Shortcuts" (KDD 2022), Section 4."""

import math
from typing import Annotated

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import CHUNK, LabelledImages, blank
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, made_at_any_size, required_by, scaled_to_l2
from unlearnable.ranges import AT_LEAST_ONE, POSITIVE
from unlearnable.seeds import derive

PATCHES = 4  # published, as the norm is
PUBLISHED_L2 = 6 / 255 * math.sqrt(3 * 32 * 32)

made_at_any_size("lsp")


@required_by("lsp")
def require_patches(clean: LabelledImages, *, patches: int = PATCHES, **others: object) -> None:  # noqa: ARG001
    """Raise InputError if images cannot be cut into that many patches along each side."""
    _, height, width = clean.shape
    if height % patches or width % patches:
        raise InputError(f"craft.lsp.patches: expected a divisor of {height} and {width}, got {patches}")


@POISONS.add("lsp")
def lsp(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    l2: Annotated[float, POSITIVE] = PUBLISHED_L2,
    class_sep: Annotated[float, POSITIVE] = 10.0,
    patches: Annotated[int, AT_LEAST_ONE] = PATCHES,
) -> Perturbation:
    """Return a grid of flat patches for each image, drawn around a corner of a hypercube that belongs to its class.

    Args:
        clean: images whose height and width are multiples of ``patches``.
        crafting: its seed decides the draw.
        l2: norm of each image's perturbation before rounding, in units of [0, 1] (published: 6/255 sqrt(3072) = 1.304).
        class_sep: half the side of the hypercube, in standard deviations.
        patches: patches along each side.

    Raises:
        InputError: the images cannot be cut into that many patches.
    """
    require_patches(clean, patches=patches)
    channels, height, width = clean.shape
    grid = _by_class(clean, channels * patches * patches, class_sep, crafting.seed).reshape(-1, channels, patches, patches)
    perturbation = blank(clean.images.shape, np.float32)
    for start in range(0, len(clean), CHUNK):
        values = grid[start : start + CHUNK].repeat(height // patches, axis=2).repeat(width // patches, axis=3)
        perturbation[start : start + CHUNK] = scaled_to_l2(values, l2)
    return perturbation


def _by_class(clean: LabelledImages, features: int, class_sep: float, seed: int) -> npt.NDArray[np.float32]:
    """Draw points (N, features), each from the cluster of its image's class."""
    from sklearn.datasets import make_classification  # here, since it takes a second that other poisons need not wait

    largest = int(np.bincount(clean.labels).max())
    points, classes = make_classification(
        n_samples=largest * clean.num_classes,
        n_features=features,
        n_informative=features,
        n_redundant=0,
        n_classes=clean.num_classes,
        n_clusters_per_class=1,
        class_sep=class_sep,
        flip_y=0,
        random_state=derive(seed, "poison/lsp") % 2**32,
    )
    matched = np.empty((len(clean), features), dtype=np.float32)
    for label in range(clean.num_classes):
        members = np.flatnonzero(clean.labels == label)
        matched[members] = points[classes == label][: len(members)]
    return matched
