"""Augmentation of a batch on its device, with draws of its own for every image.

torchvision's own transforms draw once for a batch, or work image by image (5,000 to 10,000 images a second on one core);
these do the same arithmetic on the whole batch with one draw for each image, from their own generator.

``draw`` draws everything random beforehand on the CPU. ``applied`` uses it on the device, with the same shapes for every batch and
without a result for the host: nobody waits for the GPU, and the step can be recorded and replayed.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.seeds import Draws, sent, uniform
from unlearnable.training.recipe import Augmentation

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's rgb_to_grayscale (0.2989, 0.587, 0.114)
Shape = tuple[int, ...]  # channels, height and width of an image


def augment(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Return augmented images: the order is affine, colour, crop, flip (the published recipe's).

    Args:
        images: float32 (N, C, H, W) in units of [0, 1]; projected images may lie outside.
        recipe: what to do.
        generator: a CPU generator.
    """
    return applied(images, recipe, sent(draw(recipe, len(images), images.shape[1:], generator), images.device))


def draw(recipe: Augmentation, count: int, shape: Shape, generator: torch.Generator) -> Draws:
    """Return everything that is random in the augmentation of ``count`` images of that shape, on the CPU."""
    draws: Draws = {}
    if recipe.rotation or recipe.shear or recipe.scale:
        draws |= draw_affine(recipe, count, generator)
    if recipe.brightness or recipe.contrast or recipe.saturation:
        draws |= draw_jitter(recipe, count, generator)
    if recipe.hue and shape[0] == len(LUMA):
        draws["hue"] = draw_hue(recipe.hue, count, generator)
    if recipe.crop:
        draws["crop"] = torch.randint(2 * recipe.crop + 1, (2, count), generator=generator)
    if recipe.resized_crop:
        draws["resized_crop"] = draw_resized_crop(recipe.resized_crop, count, generator)
    if recipe.flip:
        draws["flip"] = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return draws


def applied(images: Tensor, recipe: Augmentation, draws: Draws) -> Tensor:
    """Return images (N, C, H, W) augmented by the draws for them, which are on their device."""
    for name in ("rotation", "shear"):
        if name in draws:
            images = _sampled(images, draws[name])
    if "factors" in draws:
        images = jitter(images, recipe, draws)
    if "hue" in draws:
        images = torch.einsum("nij,njhw->nihw", draws["hue"], images)
    if "crop" in draws:
        images = crop(images, recipe.crop, draws["crop"])
    if "resized_crop" in draws:
        grid = F.affine_grid(draws["resized_crop"], list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.where(draws["flip"], images.flip(-1), images) if "flip" in draws else images


def crop(images: Tensor, padding: int, places: Tensor) -> Tensor:
    """Return each image cut at its place, top and left in ``places`` (2, N), from itself padded with zeros."""
    height, width = images.shape[2:]
    windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, places[0], places[1]]


def draw_resized_crop(least: float, count: int, generator: torch.Generator) -> Tensor:
    """Return matrices (N, 2, 3) that cut random parts, of ``least`` of the area or more and 3:4 to 4:3 in shape, and resize them.

    As torchvision's RandomResizedCrop (Szegedy et al., "Going Deeper with Convolutions", 2015, Section 6), but that a part which would not
    fit is made as narrow as the image instead of being drawn again.
    """
    area, shape, x, y = torch.rand(4, count, generator=generator)
    area = least + (1 - least) * area
    shape = torch.exp((2 * shape - 1) * math.log(4 / 3))
    width, height = (area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1)
    zero = torch.zeros_like(width)
    return _matrices([[width, zero, (2 * x - 1) * (1 - width)], [zero, height, (2 * y - 1) * (1 - height)]])


def draw_affine(recipe: Augmentation, count: int, generator: torch.Generator) -> Draws:
    """Return matrices (N, 2, 3) that rotate each image, and others that shear it along x and scale it.

    Two samplings, as the published recipe has two transforms: what the first moves out of the image does not come back.
    """
    turn, shear, growth = uniform((3, count), generator)
    angle, tan = turn * math.radians(recipe.rotation), (shear * math.radians(recipe.shear)).tan()
    scale, zero = 1 / (1 + growth * recipe.scale), torch.zeros_like(angle)
    draws = {}
    if recipe.rotation:
        draws["rotation"] = _matrices([[angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero]])
    if recipe.shear or recipe.scale:
        draws["shear"] = _matrices([[scale, scale * tan, zero], [zero, scale, zero]])
    return draws


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _sampled(images: Tensor, matrices: Tensor) -> Tensor:
    """Return images (N, C, H, W) by the nearest pixel at the places to which a matrix (2, 3) for each sends its own; outside is zero."""
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)


def draw_jitter(recipe: Augmentation, count: int, generator: torch.Generator) -> Draws:
    """Return the factors (3, N) of brightness, contrast and saturation, and for each image their order where it has one of its own."""
    strengths = torch.tensor([recipe.brightness, recipe.contrast, recipe.saturation])[:, None]
    draws = {"factors": 1 + uniform((3, count), generator) * strengths}
    if recipe.shuffle_jitter:
        draws["orders"] = torch.rand(3, count, generator=generator).argsort(0)
    return draws


def jitter(images: Tensor, recipe: Augmentation, draws: Draws) -> Tensor:
    """Return images with brightness, contrast and saturation each multiplied by its factor, in that order or in an order for each image."""
    factors = draws["factors"].view(3, -1, 1, 1, 1)
    bound = (0.0, 1.0) if recipe.clip_jitter else (-math.inf, math.inf)
    if "orders" in draws:
        return _changed(images, factors, draws["orders"], bound)
    for change, factor in zip(CHANGES, factors, strict=True):
        images = change(images, factor).clamp_(*bound)
    return images


def _changed(images: Tensor, factors: Tensor, orders: Tensor, bound: tuple[float, float]) -> Tensor:
    """Return images (N, C, H, W) after the three changes, each image in the order that its column of ``orders`` (3, N) gives."""
    for order in orders.view(3, -1, 1, 1, 1):
        changed = [change(images, factor).clamp_(*bound) for change, factor in zip(CHANGES, factors, strict=True)]
        images = torch.where(order == 0, changed[0], torch.where(order == 1, changed[1], changed[2]))
    return images


def draw_hue(most: float, count: int, generator: torch.Generator) -> Tensor:
    """Return maps (N, 3, 3) that turn colours about the axis of greys by at most ``most`` of a turn.

    A linear map, unlike torchvision's turn in HSV: projected images leave [0, 1], where HSV is not defined.
    """
    angle = (torch.rand(count, generator=generator) * 2 - 1) * (2 * math.pi * most)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    mean = torch.full((3, 3), 1 / 3)
    turned = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return mean + cos * (torch.eye(3) - mean) + sin * turned  # Rodrigues' rotation about (1, 1, 1)


def grey(images: Tensor) -> Tensor:
    """Return the luma (N, 1, H, W) of images, or the mean of their channels where these are not three."""
    if images.shape[1] != len(LUMA):
        return images.mean(1, keepdim=True)
    return torch.einsum("nchw,c->nhw", images, _luma(images.device)).unsqueeze(1)


@cache
def _luma(device: torch.device) -> Tensor:
    """Return the weights of the channels on a device, where they are put once."""
    return torch.tensor(LUMA).to(device)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(grey(images).mean((2, 3), keepdim=True), images, factor)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(grey(images), images, factor)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return images * factor


CHANGES = (_brightness, _contrast, _saturation)


def draw_cutmix(probability: float, count: int, shape: Shape, generator: torch.Generator) -> Draws:
    """Return the box and the order by which images are mixed, with ``probability``; otherwise those that leave them as they are.

    A random box from a random other image goes into each image (Yun et al., "CutMix", 2019, with beta 1). It is cut as the authors'
    published code cuts it: centres are whole pixels, and sides are rounded down to even numbers.

    Returns:
        ``order`` (N,), the images that are pasted; ``box`` (1, 1, H, W), true in it; and ``shares`` (2,), of the first images and of those.
    """
    height, width = shape[1:]
    box = torch.zeros(1, 1, height, width, dtype=torch.bool)
    if float(torch.rand(1, generator=generator)) >= probability:
        return {"order": torch.arange(count), "box": box, "shares": torch.tensor([1.0, 0.0])}
    order = torch.randperm(count, generator=generator)
    side = math.sqrt(float(torch.rand(1, generator=generator)))
    y, x = torch.rand(2, generator=generator).tolist()
    top, bottom = _span(int(y * height), int(side * height), height)
    left, right = _span(int(x * width), int(side * width), width)
    box[:, :, top:bottom, left:right] = True
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return {"order": order, "box": box, "shares": torch.tensor([kept, 1 - kept])}


def _span(centre: int, length: int, limit: int) -> tuple[int, int]:
    return max(0, centre - length // 2), min(limit, centre + length // 2)
