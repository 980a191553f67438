"""RandAugment: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (NeurIPS 2020).

The operations, their 31 magnitudes and the defaults are those of torchvision's class, which draws once for all that it is given and from
the global generator. Here every image draws. What an operation does to an image is a few numbers, which are looked up on the CPU, so that
each operation is one function of many images with numbers of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.ranges import AT_LEAST_ONE, Range
from unlearnable.recoveries.base import BatchRecovery, register
from unlearnable.training import Draws
from unlearnable.training.augmentation import Shape

STRONGEST = 30  # magnitudes are 0 to 30
LEVELS = 256
MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
BLENDS = ("brightness", "color", "contrast")
SIGNED = (*MOVES, *BLENDS, "sharpness")
STRENGTHLESS = ("identity", "autocontrast", "equalize")
NAMES = (*SIGNED, "identity", "posterize", "solarize", "autocontrast", "equalize")
GREY = (0.2989, 0.587, 0.114)  # torchvision's


@register("randaugment")
@dataclass(frozen=True, kw_only=True)
class RandAugment(BatchRecovery):
    """Some of 14 operations, one after the other, drawn for every image in every epoch.

    Args:
        num_ops: how many.
        magnitude: of each, 0 to 30.
    """

    num_ops: Annotated[int, AT_LEAST_ONE] = 2
    magnitude: Annotated[int, Range(ge=0, le=STRONGEST)] = 9

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return ``changes`` (N, O, 7) and their ``numbers`` (N, O, 6), where O is how many follow each other."""
        magnitudes, drawn = torch.full((count,), self.magnitude), []
        for _ in range(self.num_ops):
            operations = torch.randint(len(NAMES), (count,), generator=own)
            drawn.append(draw_operation(operations, magnitudes, shape, own))
        return {name: torch.stack([each[name] for each in drawn], 1) for name in drawn[0]}

    def transform(self, images: Tensor, draws: Draws) -> Tensor:
        """Return images in [0, 1]; what left that range is clipped first, as the operations are defined in it alone."""
        images = images.clamp(0, 1)
        for place in range(self.num_ops):
            images = operated_(images, draws["changes"][:, place], draws["numbers"][:, place])
        return images


def draw_operation(operations: Tensor, magnitudes: Tensor, shape: Shape, own: torch.Generator) -> Draws:
    """Return ``changes`` and ``numbers`` for ``operated_`` of images of that shape; the sign of an operation that has one is drawn.

    Args:
        operations: int64 (N,), places in NAMES, on the CPU.
        magnitudes: int64 (N,), 0 to 30, on the CPU.
        shape: of an image, (C, H, W).
        own: a CPU generator.
    """
    signs = torch.randint(2, (len(operations),), generator=own) * 2 - 1
    changes, numbers = _table(shape)
    return {"changes": changes[operations], "numbers": numbers[operations, signs * magnitudes + STRONGEST]}


@cache
def _table(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return bool (14, 7), which of CHANGES an operation is, and float32 (14, 61, 6), its numbers at magnitudes from -30 to 30."""
    magnitudes = range(-STRONGEST, STRONGEST + 1)
    rows = [[_numbers(name, magnitude / STRONGEST, shape) for magnitude in magnitudes] for name in NAMES]
    numbers = torch.tensor([[[*row, *[0.0] * (6 - len(row))] for row in of_one] for of_one in rows])
    numbers[: len(MOVES)] /= torch.tensor([shape[2] / 2] * 3 + [shape[1] / 2] * 3)  # grid_sample counts in halves of a side
    return torch.tensor([[name in names for names in CHANGES] for name in NAMES]), numbers


def _numbers(name: str, strength: float, shape: Shape) -> tuple[float, ...]:
    """Return what an operation does at a strength in [-1, 1]; one without a sign looks at its size alone."""
    factor, levels = 1 + 0.9 * strength, 2.0 ** round(8 - 4 * abs(strength))
    if name in MOVES:
        return _matrix(name, strength, *shape[1:])
    if name == "color" and shape[0] != len(GREY):
        return (1.0,)
    return {
        "brightness": (factor,),
        "color": (factor, 1 - factor),
        "contrast": (factor, 1 - factor, 1.0),
        "sharpness": (1 - factor,),
        "posterize": (levels, levels - 1),
        "solarize": (1 - abs(strength),),
    }.get(name, ())


def _matrix(name: str, strength: float, height: int, width: int) -> tuple[float, ...]:
    """Return the two rows of the map from a pixel's place to that where it comes from, both in pixels from the image's centre."""
    shear, turn, most = 0.3 * strength, math.radians(30 * strength), 150 / 331  # 150 pixels of ImageNet's 331
    return {  # shears leave the upper left corner where it is, as published
        "shear_x": (1.0, shear, shear * height / 2, 0.0, 1.0, 0.0),
        "shear_y": (1.0, 0.0, 0.0, shear, 1.0, shear * width / 2),
        "translate_x": (1.0, 0.0, -float(int(most * width * strength)), 0.0, 1.0, 0.0),
        "translate_y": (1.0, 0.0, 0.0, 0.0, 1.0, -float(int(most * height * strength))),
        "rotate": (math.cos(turn), -math.sin(turn), 0.0, math.sin(turn), math.cos(turn), 0.0),
    }[name]


def operated_(images: Tensor, changes: Tensor, numbers: Tensor) -> Tensor:
    """Return each image (N, C, H, W), in [0, 1], after its operation; it may write into ``images``.

    Args:
        images: on any device, as all the others.
        changes: bool (N, 7), which of CHANGES an image's operation is; identity is none.
        numbers: float32 (N, 6), of the operations.
    """
    for chosen, change in zip(changes.unbind(1), CHANGES.values(), strict=True):
        images = change_(images, chosen, change, numbers)
    return images


def change_(images: Tensor, chosen: Tensor, change: Callable[..., Tensor], *drawn: Tensor) -> Tensor:
    """Return images, of which those ``chosen`` (N,) are changed; it may write into ``images``.

    On a CPU the others are left out. On a GPU that would be a wait and a new shape in every step: there all are changed, and the others
    put back.

    Args:
        images: (N, C, H, W).
        chosen: bool (N,).
        change: of images, with a row of each of ``drawn`` for every one.
        drawn: (N, ...).
    """
    if images.device.type != "cpu":
        return torch.where(chosen.view(-1, 1, 1, 1), change(images, *drawn), images)
    places = chosen.nonzero()[:, 0]
    if len(places) == len(images):
        return change(images, *drawn)
    if len(places):
        images.index_copy_(0, places, change(images[places], *(rows[places] for rows in drawn)))
    return images


def moved(images: Tensor, numbers: Tensor) -> Tensor:
    """Return images of which each pixel comes from where the image's matrix says, the nearest one there; outside is zero."""
    height, width = images.shape[2:]
    x = torch.arange((1 - width) / 2, width / 2, device=images.device)
    y = torch.arange((1 - height) / 2, height / 2, device=images.device)[:, None].expand(height, width).contiguous()  # for long vectors
    by_x, by_y, shift = numbers.view(-1, 2, 3, 1, 1).unbind(2)
    places = torch.addcmul(x * by_x, y, by_y) + shift
    return F.grid_sample(images, places.permute(0, 2, 3, 1), mode="nearest", align_corners=False)


def blended(images: Tensor, numbers: Tensor) -> Tensor:
    """Return images multiplied by factors, with shares of themselves in grey, or of their mean grey, added."""
    factor, share, of_mean = _columns(numbers, 3)
    grey = _grey(images)
    other = torch.where(of_mean > 0, grey.mean((1, 2, 3), keepdim=True), grey)
    return images.mul(factor).addcmul_(other, share).clamp_(0, 1)


def _columns(numbers: Tensor, count: int) -> tuple[Tensor, ...]:
    return numbers[:, :count, None, None, None].unbind(1)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != len(GREY):
        return images
    red, green, blue = images.split(1, 1)
    grey: Tensor = red.mul(GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
    return grey


def sharpened(images: Tensor, numbers: Tensor) -> Tensor:
    """Return images moved from or towards their blurred selves, but for their borders."""
    if min(images.shape[2:]) < 3:
        return images
    changed, [share] = images.clone(), _columns(numbers, 1)
    inside = changed[..., 1:-1, 1:-1]
    inside.addcmul_(_blurred(images).sub_(inside), share)
    return changed.clamp_(0, 1)


def _blurred(images: Tensor) -> Tensor:
    """Return the mean of each pixel, which counts five times, and its eight neighbours: (N, C, H - 2, W - 2).

    Nine sums give the same on all devices and for any number of images, and on a CPU they are faster than a convolution.
    """
    height, width = images.shape[2] - 2, images.shape[3] - 2
    total = images[..., :height, :width] * (1 / 13)
    for y, x in ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)):
        total.add_(images[..., y : y + height, x : x + width], alpha=(5 if y == x == 1 else 1) / 13)
    return total


def posterized(images: Tensor, numbers: Tensor) -> Tensor:
    """Return images of fewer levels."""
    levels, most = _columns(numbers, 2)
    return torch.minimum(images.mul(levels).floor_(), most).div_(levels)


def solarized(images: Tensor, numbers: Tensor) -> Tensor:
    """Return images inverted from a threshold on."""
    from_there = torch.ge(images, _columns(numbers, 1)[0], out=torch.empty_like(images))
    return images.sub(from_there).abs_()  # 1 - x or x; where() takes three times as long on a CPU


def autocontrasted(images: Tensor, _: Tensor) -> Tensor:
    """Return images of which each channel is stretched to [0, 1], unless it has one level alone."""
    least = images.amin((2, 3), keepdim=True)
    spread = images.amax((2, 3), keepdim=True).sub_(least)
    return torch.where(spread > 0, (images - least).div_(spread), images)


def equalized(images: Tensor, _: Tensor) -> Tensor:
    """Return images of which each channel has all of 256 levels about equally often, as PIL counts them."""
    levels = images.flatten(2).mul(LEVELS - 1e-3).long()
    counts = levels.new_zeros((*levels.shape[:2], LEVELS)).scatter_add_(2, levels, levels.new_ones(1).expand_as(levels))
    brightest = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - brightest) // (LEVELS - 1)
    darker = counts.cumsum(2).sub_(counts)
    table = darker.add_(step // 2).floor_divide_(step.clamp(min=1)).clamp_(max=LEVELS - 1)
    table = torch.where(step > 0, table, torch.arange(LEVELS, device=images.device))  # what has one level alone stays
    return table.mul(1 / (LEVELS - 1)).gather(2, levels).view_as(images)


CHANGES: dict[tuple[str, ...], Callable[[Tensor, Tensor], Tensor]] = {
    MOVES: moved,
    BLENDS: blended,
    ("sharpness",): sharpened,
    ("posterize",): posterized,
    ("solarize",): solarized,
    ("autocontrast",): autocontrasted,
    ("equalize",): equalized,
}
