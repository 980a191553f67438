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
    """Return each image rotated, then sheared along x and scaled, by the nearest pixel each time; outside is zero.

    Two samplings, as the published recipe has two transforms: what the first moves out of the image does not come back.
    """
    uniform = torch.rand(3, len(images), generator=generator).mul_(2).sub_(1)
    angle, tan = uniform[0] * math.radians(recipe.rotation), (uniform[1] * math.radians(recipe.shear)).tan()
    scale, zero = 1 / (1 + uniform[2] * recipe.scale), torch.zeros_like(angle)
    if recipe.rotation:
        images = _sampled(images, [[angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero]])
    if recipe.shear or recipe.scale:
        images = _sampled(images, [[scale, scale * tan, zero], [zero, scale, zero]])
    return images


def _sampled(images: Tensor, rows: list[list[Tensor]]) -> Tensor:
    """Return images (N, C, H, W) by the nearest pixel at the places to which a matrix (2, 3) for each image sends its own."""
    grid = F.affine_grid(torch.stack([torch.stack(row, 1) for row in rows], 1).to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)


def jitter(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Return images with brightness, contrast and saturation each moved by an own factor, in that order or in one of their own."""
    strengths = torch.tensor([recipe.brightness, recipe.contrast, recipe.saturation])[:, None]
    draws = torch.rand(3, len(images), generator=generator).mul_(2).sub_(1)
    factors = (1 + draws * strengths).to(images.device).view(3, -1, 1, 1, 1)
    bound = (0.0, 1.0) if recipe.clip_jitter else (-math.inf, math.inf)
    if not recipe.shuffle_jitter:
        for change, factor in zip(CHANGES, factors, strict=True):
            images = change(images, factor).clamp_(*bound)
        return images
    return _changed(images, factors, torch.rand(3, len(images), generator=generator).argsort(0), bound)


def _changed(images: Tensor, factors: Tensor, orders: Tensor, bound: tuple[float, float]) -> Tensor:
    """Return images (N, C, H, W) after the three changes, each image in the order that its column of ``orders`` (3, N) gives."""
    for order in orders.to(images.device).view(3, -1, 1, 1, 1):
        changed = [change(images, factor).clamp_(*bound) for change, factor in zip(CHANGES, factors, strict=True)]
        images = torch.where(order == 0, changed[0], torch.where(order == 1, changed[1], changed[2]))
    return images


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


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(images).mean((2, 3), keepdim=True), images, factor)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(images), images, factor)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return images * factor


CHANGES = (_brightness, _contrast, _saturation)


def cutmix(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Paste one random box from a random other image into each image (Yun et al., "CutMix", 2019, with beta 1).

    The box is cut as the authors' published code cuts it: centres are whole pixels, and sides are rounded down to even numbers.

    Returns:
        the images, the order (N,) of the images pasted, and the fraction in [0, 1] that is left of the first ones.
    """
    height, width = images.shape[2:]
    order = torch.randperm(len(images), generator=generator).to(images.device)
    side = math.sqrt(float(torch.rand(1, generator=generator)))
    y, x = torch.rand(2, generator=generator).tolist()
    top, bottom = _span(int(y * height), int(side * height), height)
    left, right = _span(int(x * width), int(side * width), width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return mixed, order, 1 - (bottom - top) * (right - left) / (height * width)


def _span(centre: int, length: int, limit: int) -> tuple[int, int]:
    return max(0, centre - length // 2), min(limit, centre + length // 2)
