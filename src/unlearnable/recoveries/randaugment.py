"""RandAugment: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (NeurIPS 2020).

The operations, their 31 magnitudes and the defaults are those of torchvision's class, which draws once for all that it is given and from
the global generator. Here every image draws, and images that drew the same go through torchvision's functions together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from unlearnable.ranges import AT_LEAST_ONE, Range
from unlearnable.recoveries.base import BatchRecovery, register, transforms

STRONGEST = 30  # magnitudes are 0 to 30
Operation = Callable[
    [Tensor, float], Tensor
]  # of images (N, C, H, W) in [0, 1], and a strength in [0, 1], or in [-1, 1] where it is signed


def _affine(images: Tensor, *, translate: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    centre = [0, 0] if any(shear) else None  # shears leave the upper left corner where it is, as published
    turned = [math.degrees(math.atan(part)) for part in shear]
    moved: Tensor = transforms().affine(images, angle=0.0, translate=list(translate), scale=1.0, shear=turned, center=centre)
    return moved


def _fraction(side: int, strength: float) -> int:
    return int(150 / 331 * side * strength)  # 150 pixels of ImageNet's 331 at most


SIGNED: dict[str, Operation] = {
    "shear_x": lambda images, strength: _affine(images, shear=(0.3 * strength, 0.0)),
    "shear_y": lambda images, strength: _affine(images, shear=(0.0, 0.3 * strength)),
    "translate_x": lambda images, strength: _affine(images, translate=(_fraction(images.shape[3], strength), 0)),
    "translate_y": lambda images, strength: _affine(images, translate=(0, _fraction(images.shape[2], strength))),
    "rotate": lambda images, strength: transforms().rotate(images, 30 * strength),
    "brightness": lambda images, strength: transforms().adjust_brightness(images, 1 + 0.9 * strength),
    "color": lambda images, strength: transforms().adjust_saturation(images, 1 + 0.9 * strength),
    "contrast": lambda images, strength: transforms().adjust_contrast(images, 1 + 0.9 * strength),
    "sharpness": lambda images, strength: transforms().adjust_sharpness(images, 1 + 0.9 * strength),
}
OPERATIONS: dict[str, Operation] = SIGNED | {
    "identity": lambda images, _: images,
    "posterize": lambda images, strength: transforms().posterize(images, round(8 - 4 * strength)),
    "solarize": lambda images, strength: transforms().solarize(images, 1 - strength),
    "autocontrast": lambda images, _: transforms().autocontrast(images),
    "equalize": lambda images, _: transforms().equalize(images),
}
NAMES = list(OPERATIONS)
STRENGTHLESS = ("identity", "autocontrast", "equalize")


@register("randaugment")
@dataclass(frozen=True, kw_only=True)
class RandAugment(BatchRecovery):
    """Some of 14 operations, drawn anew for every image, one after the other.

    Args:
        num_ops: how many.
        magnitude: of each, 0 to 30.
    """

    num_ops: Annotated[int, AT_LEAST_ONE] = 2
    magnitude: Annotated[int, Range(ge=0, le=STRONGEST)] = 9

    def transform(self, images: Tensor, own: torch.Generator) -> Tensor:
        """Return images in [0, 1]; what left that range is clipped first, as the operations are defined in it alone."""
        images = images.clamp(0, 1)
        for _ in range(self.num_ops):
            operations = torch.randint(len(NAMES), (len(images),), generator=own)
            images = operated(images, operations, torch.full((len(images),), self.magnitude), own)
        return images


def operated(images: Tensor, operations: Tensor, magnitudes: Tensor, own: torch.Generator) -> Tensor:
    """Return each image (N, C, H, W), in [0, 1], after its operation; the sign of one that has a sign is drawn.

    Args:
        images: on any device.
        operations: int64 (N,), places in NAMES, on the CPU.
        magnitudes: int64 (N,), 0 to 30, on the CPU.
        own: a CPU generator.
    """
    signs = torch.randint(2, (len(images),), generator=own) * 2 - 1
    drawn = zip(operations.tolist(), (signs * magnitudes).tolist(), strict=True)
    groups: dict[tuple[str, int], list[int]] = {}
    for place, (operation, magnitude) in enumerate(drawn):
        groups.setdefault(_same(NAMES[operation], magnitude), []).append(place)
    changed = torch.empty_like(images)
    for (name, magnitude), places in groups.items():
        chosen = torch.tensor(places).to(images.device)
        changed[chosen] = OPERATIONS[name](images[chosen], magnitude / STRONGEST)
    return changed


def _same(name: str, magnitude: int) -> tuple[str, int]:
    """Return what images must share to be changed together."""
    if name in STRENGTHLESS:
        return name, 0
    return name, magnitude if name in SIGNED else abs(magnitude)
