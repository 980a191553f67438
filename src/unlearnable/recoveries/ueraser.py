"""UEraser: Qin et al., "Learning the Unlearnable: Adversarial Augmentations Suppress Unlearnable Example Attacks" (2023).

Fractal maps make images brighter and darker and their contrast higher and lower, channels change places, and one operation of
TrivialAugment follows, with the ranges and probabilities of APBench's code (lafeat/apbench at 4d60c50, defense/ueraser.py, train.py). Its
-lite is that augmentation in all epochs, its -max takes of every image the worst of five in all epochs.

What differs from that code, which is built on Kornia:

- It looks at the poison's name, and takes a variant with JPEG for two of them (where it then drops what JPEG gave back). Ours looks at
  images alone.
- Its five views are passed through the network in training mode with gradients, so that BatchNorm follows all of them. Here the worst are
  found in evaluation mode, as an attack is in adversarial training, and one pass in training mode follows.
- The operations are those of RandAugment, identity and colour among them, with its ranges: Kornia's keep fewer bits, turn and shift to one
  side, and hardly shear (docs/differences.md). One is drawn for a batch and a strength for every image, as by Kornia.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from unlearnable.ranges import AT_LEAST_ONE, FRACTION
from unlearnable.recoveries.base import BatchRecovery, Needs, register
from unlearnable.recoveries.randaugment import NAMES, STRONGEST, change_, draw_operation, operated_
from unlearnable.training import Draws, Trainer, plain_loss
from unlearnable.training.augmentation import Shape

ROUGHNESS = (0.3, 0.7)  # by which the noise of a map shrinks from each of its scales to the next
INTENSITY = (0.5, 1.0)  # of what is added to the brightness
CHANGED = ("brightness", "contrast", "channels")


@register("ueraser_lite")
@dataclass(frozen=True, kw_only=True)
class UEraserLite(BatchRecovery):
    """One random augmentation of every batch.

    Args:
        probability: of each of brightness, contrast and shuffled channels, for each image; one half is published.
    """

    probability: Annotated[float, FRACTION] = 0.5

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return what one augmentation of ``count`` images (C, H, W) needs."""
        return self._drawn(1, count, shape, own)

    def _drawn(self, views: int, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return what that many augmentations need, those of the first one first.

        Of each image and augmentation (V N): which of CHANGED it gets, which map is that of ``brightness`` and of ``contrast``, the
        ``intensity`` of the first, the ``order`` of its channels, its operation. Of each map (2 V N), of which those behind an
        augmentation's last one are empty: ``roughness`` and ``noise``.
        """
        noise = torch.zeros(2 * views * count, shape[0], sum(side * side for side in _sides(*shape[1:])))
        maps = {"noise": noise, "roughness": torch.zeros(len(noise))}
        drawn = [_view(self.probability, count, shape, maps, 2 * count * view, own) for view in range(views)]
        return maps | {name: torch.cat([view[name] for view in drawn]) for name in drawn[0]}

    def transform(self, images: Tensor, draws: Draws) -> Tensor:
        """Return images in [0, 1]; what left that range is clipped first."""
        images, maps = images.clamp(0, 1), _maps(draws, images.shape[2:])
        brightness = (draws["brightness/map"], draws["intensity"])
        images = change_(images, draws["brightness"], lambda some, rows, much: brightened(some, maps[rows], much), *brightness)
        images = change_(images, draws["contrast"], lambda some, rows: contrasted(some, maps[rows]), draws["contrast/map"])
        images = change_(images, draws["channels"], shuffled, draws["order"])
        return operated_(images, draws["changes"], draws["numbers"])


@register("ueraser_max")
@dataclass(frozen=True, kw_only=True)
class UEraserMax(UEraserLite):
    """Of several random augmentations of every image, the one with the largest loss.

    Args:
        repeats: how many; five are published.
    """

    repeats: Annotated[int, AT_LEAST_ONE] = 5

    @property
    def needs(self) -> Needs:
        """A pass forward, which is a third of a pass forward and backward, for every augmentation."""
        return Needs(passes=1.0 + self.repeats / 3)

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return what is drawn for all augmentations, one after the other."""
        return self._drawn(self.repeats, count, shape, own)

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:
        """Return the loss of the worst augmentations."""
        return plain_loss(trainer, self.worst(trainer, images, labels, own), labels, shared, own)

    @torch.no_grad()
    def worst(self, trainer: Trainer, images: Tensor, labels: Tensor, own: Draws) -> Tensor:
        """Return of each image (N, C, H, W) the augmentation with the largest loss; the network stays as it is."""
        trainer.model.eval()
        worst, largest = images, images.new_full((len(images),), -math.inf)
        for view in self._views(images, own):
            losses = trainer.cross_entropy(trainer.forward(view), labels, reduction="none")
            worst = torch.where((losses > largest)[:, None, None, None], view, worst)
            largest = torch.maximum(losses, largest)
        trainer.model.train()
        return worst

    def _views(self, images: Tensor, own: Draws) -> Iterator[Tensor]:
        """Yield the augmentations: on a GPU all are made at once by a few kernels, on a CPU one by one, as its cache holds no more."""
        if images.device.type != "cpu":
            yield from self.transform(images.repeat(self.repeats, 1, 1, 1), own).split(len(images))
            return
        for view in range(self.repeats):
            yield self.transform(images, _part(own, view, self.repeats))


def _part(draws: Draws, view: int, views: int) -> Draws:
    """Return the draws of one of several augmentations, the rows of its maps counted from its first one."""
    part = {name: drawn.chunk(views)[view] for name, drawn in draws.items()}
    first = view * len(part["noise"])
    return part | {name: part[name] - first for name in ("brightness/map", "contrast/map")}


def _view(probability: float, count: int, shape: Shape, maps: Draws, first: int, own: torch.Generator) -> Draws:
    """Return what an augmentation needs beside its maps, which are drawn into ``maps`` from row ``first`` on."""
    view, row = Draws(), first
    for change in CHANGED:
        chosen = view[change] = torch.rand(count, generator=own) < probability
        number = int(chosen.sum())
        if change == "channels":
            view["order"] = _spread(torch.rand(number, shape[0], generator=own).argsort(1), chosen)
            continue
        if change == "brightness":
            view["intensity"] = _spread(_uniform(INTENSITY, number, own), chosen)
        view[f"{change}/map"] = first + _spread(torch.arange(row - first, row - first + number), chosen)
        maps["roughness"][row : row + number] = _uniform(ROUGHNESS, number, own)
        draw_noise(maps["noise"][row : row + number], shape, own)
        row += number
    operation = torch.randint(len(NAMES), (1,), generator=own).expand(count)
    return view | draw_operation(operation, torch.randint(STRONGEST + 1, (count,), generator=own), shape, own)


def draw_noise(noise: Tensor, shape: Shape, own: torch.Generator) -> None:
    """Fill ``noise`` (M, C, P) for maps of images (C, H, W): all the scales of a map in a row."""
    sides = _sides(*shape[1:])
    for side, scale in zip(sides, noise.split([side * side for side in sides], 2), strict=True):
        scale.copy_(torch.rand(*noise.shape[:2], side * side, generator=own))


def _spread(rows: Tensor, chosen: Tensor) -> Tensor:
    """Return zeros (N, ...) with ``rows`` in the places that are ``chosen`` (N,): of the same shape however many these are."""
    return rows.new_zeros((len(chosen), *rows.shape[1:])).index_copy_(0, chosen.nonzero()[:, 0], rows)


def _maps(draws: Draws, size: tuple[int, ...]) -> Tensor:
    roughness, noise = draws["roughness"], draws["noise"]
    if noise.device.type == "cpu":  # the empty ones behind are left out: on a GPU that would be a wait
        used = 1 + int(torch.maximum(draws["brightness/map"], draws["contrast/map"]).max())
        roughness, noise = roughness[:used], noise[:used]
    return plasma(roughness, noise, size)


def brightened(images: Tensor, maps: Tensor, intensity: Tensor) -> Tensor:
    """Return images (N, C, H, W) with fractal maps added, up or down, and clipped to [0, 1]; ``intensity`` is (N,)."""
    return (2 * maps - 1).mul_(intensity.view(-1, 1, 1, 1)).add_(images).clamp_(0, 1)


def contrasted(images: Tensor, maps: Tensor) -> Tensor:
    """Return images (N, C, H, W) whose distance from grey is multiplied, by zero to four in a fractal map, clipped to [0, 1]."""
    return (4 * maps).mul_(images - 0.5).add_(0.5).clamp_(0, 1)


def shuffled(images: Tensor, order: Tensor) -> Tensor:
    """Return images (N, C, H, W), the channels of each in an order of its own."""
    return images.gather(1, order[:, :, None, None].expand_as(images))


def plasma(roughness: Tensor, noise: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return fractal maps (M, C, H, W) in [0, 1], one for each channel of an image, by diamond and square steps.

    Four corners are drawn and refined until there is a point for every pixel. A new point is the mean of its neighbours, of which a share
    is replaced by noise; from each refinement to the next that share is multiplied by the image's roughness.

    Args:
        roughness: (M,).
        noise: (M, C, P), as ``draw_noise`` fills it.
        size: H and W.
    """
    count, channels = noise.shape[:2]
    sides = _sides(*size)
    scales = noise.flatten(0, 1).t().contiguous().split([side * side for side in sides])  # maps are last: each step has long rows
    roughness = roughness.repeat_interleave(channels, output_size=count * channels)
    points, share = scales[0].unflatten(0, (2, 2)), torch.ones_like(roughness)
    for side, scale in zip(sides[1:], scales[1:], strict=True):
        share = share * roughness
        points = _refined(points, share, scale.unflatten(0, (side, side)))
    maps: Tensor = points[: size[0], : size[1]].permute(2, 0, 1).contiguous().unflatten(0, (count, channels))
    return maps


def _sides(height: int, width: int) -> list[int]:
    """Return how many points the scales of a map have in each direction."""
    return [2**scale + 1 for scale in range(math.ceil(math.log2(max(height, width, 3) - 1)) + 1)]


def _refined(points: Tensor, share: Tensor, noise: Tensor) -> Tensor:
    """Return points (2 S - 1, 2 S - 1, M), one more between each two of ``points`` (S, S, M), M maps with ``share`` (M,) of noise."""
    side = 2 * len(points) - 1
    framed = points.new_zeros((side + 2, side + 2, *points.shape[2:]))  # zeros around, so that a point on the border has four neighbours
    fine = framed[1:-1, 1:-1]
    fine[::2, ::2] = points
    corners = (points[:-1, :-1] + points[:-1, 1:]).add_(points[1:, :-1]).add_(points[1:, 1:])
    torch.lerp(corners.mul_(0.25), noise[1::2, 1::2], share, out=fine[1::2, 1::2])  # diamond
    there = points.new_full((len(points), 1, 1), 4)
    there[:: len(points) - 1].fill_(3)
    across = (framed[:-2:2, 2:-1:2] + framed[2::2, 2:-1:2]).add_(points[:, :-1]).add_(points[:, 1:]).div_(there)
    torch.lerp(across, noise[::2, 1::2], share, out=fine[::2, 1::2])  # square, between left and right
    down = (points[:-1] + points[1:]).add_(framed[2:-1:2, :-2:2]).add_(framed[2:-1:2, 2::2]).div_(there.transpose(0, 1))
    torch.lerp(down, noise[1::2, ::2], share, out=fine[1::2, ::2])  # square, between above and below
    return fine


def _uniform(bounds: tuple[float, float], count: int, own: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=own)
