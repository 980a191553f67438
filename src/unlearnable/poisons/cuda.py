"""Class-wise blurring: Sadasivan et al., "CUDA: Convolution-based Unlearnable Datasets" (CVPR 2023).

It is a transformation, not an addition: every image of a class is filtered by the kernel of that class. The perturbation is
the difference that the filter makes, so that ``apply`` rounds and clips it as it does for every other poison.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from unlearnable.images import LabelledImages, blank
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.ranges import POSITIVE
from unlearnable.seeds import numpy_generator
from unlearnable.training.pixels import as_float

SIDE = 3


@POISONS.add("cuda")
def cuda(clean: LabelledImages, crafting: Crafting, *, blur: Annotated[float, POSITIVE] = 0.3) -> Perturbation:
    """Return what filtering by the kernel of its class, and division by the brightest value, changes in each image.

    Args:
        clean: images (N, C, H, W).
        crafting: its seed decides the kernels.
        blur: each weight is uniform in [0, blur], but one that is 1 (published: 0.3 for 32-pixel images).
    """
    kernels = _kernels(clean.num_classes, blur, numpy_generator(crafting.seed, "poison/cuda"))
    perturbation = blank(clean.images.shape, np.float32)
    for label, kernel in enumerate(kernels):
        members = np.flatnonzero(clean.labels == label)
        images = as_float(torch.from_numpy(clean.images[members]))
        perturbation[members] = (_filtered(images, kernel) - images).numpy()
        crafting.progress(label + 1, clean.num_classes)
    return perturbation


def _kernels(classes: int, blur: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw kernels (K, 3, 3), the same for every channel, each with one weight of 1 at a random place."""
    kernels = rng.uniform(0, blur, size=(classes, SIDE * SIDE))
    kernels[np.arange(classes), rng.integers(SIDE * SIDE, size=classes)] = 1
    return kernels.reshape(classes, SIDE, SIDE).astype(np.float32)


def _filtered(images: torch.Tensor, kernel: npt.NDArray[np.float32]) -> torch.Tensor:
    channels = images.shape[1]
    weights = torch.from_numpy(kernel).expand(channels, 1, SIDE, SIDE)
    filtered = F.conv2d(images, weights, padding=SIDE // 2, groups=channels)
    return filtered / filtered.amax((1, 2, 3), keepdim=True).clamp_min(1e-6)  # a black image stays black
