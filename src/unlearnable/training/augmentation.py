"""Augmentation of a batch on its device, drawn for every image by itself.

torchvision's own transforms draw once for a batch, or work image by image (5,000 to 10,000 images a second on one core);
these do the same arithmetic on the whole batch with one draw an image, from a generator of their own.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.training.recipe import Augmentation

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's rgb_to_grayscale (0.2989, 0.587, 0.114)


def augment(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Return augmented images: the order is affine, colour, crop, flip (the published recipe's).

    Args:
        images: float32 (N, C, H, W) in units of [0, 1]; projected images may lie outside.
        recipe: what to do.
        generator: a CPU generator.
    """
    if recipe.rotation or recipe.shear or recipe.scale:
        images = random_affine(images, recipe, generator)
    if recipe.brightness or recipe.contrast or recipe.saturation:
        images = jitter(images, recipe, generator)
    if recipe.hue:
        images = turn_hue(images, recipe.hue, generator)
    if recipe.crop:
        images = random_crop(images, recipe.crop, generator)
    if recipe.resized_crop:
        images = random_resized_crop(images, recipe.resized_crop, generator)
    return random_flip(images, generator) if recipe.flip else images


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Return each image cut at a random place from itself padded with zeros."""
    height, width = images.shape[2:]
    padded = F.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = torch.randint(2 * padding + 1, (2, len(images)), generator=generator).to(images.device)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def random_resized_crop(images: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Return a random part of each image, of ``least`` of its area or more and 3:4 to 4:3 in shape, resized to the whole (bilinear).

    As torchvision's RandomResizedCrop (Szegedy et al., "Going Deeper with Convolutions", 2015, Section 6), but that a part which would not
    fit is made as narrow as the image instead of being drawn again.
    """
    area, shape, x, y = torch.rand(4, len(images), generator=generator)
    area = least + (1 - least) * area
    shape = torch.exp((2 * shape - 1) * math.log(4 / 3))
    width, height = (area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1)
    zero = torch.zeros_like(width)
    rows = [torch.stack([width, zero, (2 * x - 1) * (1 - width)], 1), torch.stack([zero, height, (2 * y - 1) * (1 - height)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image mirrored left to right with probability one half."""
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(flipped.to(images.device), images.flip(-1), images)


def random_affine(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Return each image rotated, sheared along x and scaled in one nearest-neighbour sampling; outside is zero."""
    uniform = torch.rand(3, len(images), generator=generator).mul_(2).sub_(1)
    angle, shear = (uniform[0] * math.radians(recipe.rotation), uniform[1] * math.radians(recipe.shear))
    scale = 1 / (1 + uniform[2] * recipe.scale)
    cos, sin, tan, zero = angle.cos() * scale, angle.sin() * scale, shear.tan(), torch.zeros_like(angle)
    rows = [torch.stack([cos, cos * tan - sin, zero], 1), torch.stack([sin, sin * tan + cos, zero], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)


def jitter(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Return images with brightness, contrast and saturation each moved by an own factor, in that order."""
    strengths = torch.tensor([recipe.brightness, recipe.contrast, recipe.saturation])[:, None]
    draws = torch.rand(3, len(images), generator=generator).mul_(2).sub_(1)
    factors = (1 + draws * strengths).to(images.device).view(3, -1, 1, 1, 1)
    bound = (0.0, 1.0) if recipe.clip_jitter else (-math.inf, math.inf)
    images = (images * factors[0]).clamp_(*bound)
    images = torch.lerp(_grey(images).mean((2, 3), keepdim=True), images, factors[1]).clamp_(*bound)
    return torch.lerp(_grey(images), images, factors[2]).clamp_(*bound)


def turn_hue(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Return images whose colours are turned about the axis of greys by at most ``most`` of a turn; grey images stay as they are.

    A linear map, unlike torchvision's turn in HSV: projected images leave [0, 1], where HSV is not defined.
    """
    if images.shape[1] != len(LUMA):
        return images
    angle = (torch.rand(len(images), generator=generator) * 2 - 1) * (2 * math.pi * most)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    mean = torch.full((3, 3), 1 / 3)
    turned = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    maps = mean + cos * (torch.eye(3) - mean) + sin * turned  # Rodrigues' rotation about (1, 1, 1)
    return torch.einsum("nij,njhw->nihw", maps.to(images), images)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != len(LUMA):
        return images.mean(1, keepdim=True)
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA)).unsqueeze(1)


def cutmix(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Paste one random box from a random other image into each image (Yun et al., "CutMix", 2019, with beta 1).

    Returns:
        the images, the order (N,) of the images pasted, and the fraction in [0, 1] that is left of the first ones.
    """
    height, width = images.shape[2:]
    order = torch.randperm(len(images), generator=generator).to(images.device)
    side = math.sqrt(float(torch.rand(1, generator=generator)))
    y, x = (float(v) for v in torch.rand(2, generator=generator))
    top, bottom = _span(y * height, side * height, height)
    left, right = _span(x * width, side * width, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return mixed, order, 1 - (bottom - top) * (right - left) / (height * width)


def _span(centre: float, length: float, limit: int) -> tuple[int, int]:
    return max(0, round(centre - length / 2)), min(limit, round(centre + length / 2))
