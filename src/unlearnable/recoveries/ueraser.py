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
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.ranges import AT_LEAST_ONE, FRACTION
from unlearnable.recoveries.base import BatchRecovery, Needs, register
from unlearnable.recoveries.randaugment import NAMES, STRONGEST, operated
from unlearnable.training import Trainer, plain_loss

ROUGHNESS = (0.3, 0.7)  # by which the noise of a map shrinks from each of its scales to the next
INTENSITY = (0.5, 1.0)  # of what is added to the brightness


@register("ueraser_lite")
@dataclass(frozen=True, kw_only=True)
class UEraserLite(BatchRecovery):
    """One random augmentation of every batch.

    Args:
        probability: of each of brightness, contrast and shuffled channels, for each image; one half is published.
    """

    probability: Annotated[float, FRACTION] = 0.5

    def transform(self, images: Tensor, own: torch.Generator) -> Tensor:
        """Return images in [0, 1]; what left that range is clipped first."""
        images = images.clamp(0, 1)
        for change in (brightened, contrasted, shuffled):
            places = (torch.rand(len(images), generator=own) < self.probability).nonzero()[:, 0].to(images.device)
            images = images.index_copy(0, places, change(images[places], own))
        return _trivially_augmented(images, own)


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

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: torch.Generator, own: torch.Generator) -> Tensor:
        """Return the loss of the worst augmentations."""
        return plain_loss(trainer, self.worst(trainer, images, labels, own), labels, shared)

    @torch.no_grad()
    def worst(self, trainer: Trainer, images: Tensor, labels: Tensor, own: torch.Generator) -> Tensor:
        """Return of each image (N, C, H, W) the augmentation with the largest loss; the network stays as it is."""
        trainer.model.eval()
        worst, largest = images, torch.full((len(images),), -math.inf, device=images.device)
        for _ in range(self.repeats):
            view = self.transform(images, own)
            losses = trainer.cross_entropy(trainer.forward(view), labels, reduction="none")
            worst = torch.where((losses > largest)[:, None, None, None], view, worst)
            largest = torch.maximum(losses, largest)
        trainer.model.train()
        return worst


def brightened(images: Tensor, own: torch.Generator) -> Tensor:
    """Return images (N, C, H, W) with an own fractal map added to each channel, up or down, clipped to [0, 1]."""
    intensity = _uniform(INTENSITY, len(images), own).to(images.device).view(-1, 1, 1, 1)
    return (images + intensity * (2 * plasma(images, own) - 1)).clamp_(0, 1)


def contrasted(images: Tensor, own: torch.Generator) -> Tensor:
    """Return images (N, C, H, W) whose distance from grey is multiplied, by zero to four in a fractal map, clipped to [0, 1]."""
    return ((images - 0.5) * (4 * plasma(images, own)) + 0.5).clamp_(0, 1)


def shuffled(images: Tensor, own: torch.Generator) -> Tensor:
    """Return images (N, C, H, W), the channels of each in an order of its own."""
    order = torch.rand(images.shape[:2], generator=own).argsort(1).to(images.device)
    return images.gather(1, order[:, :, None, None].expand_as(images))


def plasma(images: Tensor, own: torch.Generator) -> Tensor:
    """Return a fractal map in [0, 1] for each channel of images (N, C, H, W), drawn by diamond and square steps.

    Four corners are drawn and refined until there is a point for every pixel. A new point is the mean of its neighbours, of which a share
    is replaced by noise; from each refinement to the next that share is multiplied by the image's roughness.
    """
    roughness = _uniform(ROUGHNESS, len(images), own).to(images.device).view(-1, 1, 1, 1)
    height, width = images.shape[2:]
    points, share = torch.rand(*images.shape[:2], 2, 2, generator=own).to(images.device), torch.ones_like(roughness)
    for _ in range(math.ceil(math.log2(max(height, width, 3) - 1))):
        share = share * roughness
        points = _refined(points, share, own)
    return points[..., :height, :width]


def _refined(points: Tensor, share: Tensor, own: torch.Generator) -> Tensor:
    """Return points (N, C, 2 S - 1, 2 S - 1), one more between each two of ``points`` (N, C, S, S)."""
    side = 2 * points.shape[-1] - 1
    noise = torch.rand(*points.shape[:2], side, side, generator=own).to(points.device)
    fine = torch.zeros_like(noise)
    fine[..., ::2, ::2] = points
    fine[..., 1::2, 1::2] = torch.lerp(F.avg_pool2d(points, 2, stride=1), noise[..., 1::2, 1::2], share)  # diamond
    between = torch.lerp(_around(fine) / _around(torch.ones_like(fine[:1, :1])), noise, share)
    fine[..., ::2, 1::2], fine[..., 1::2, ::2] = between[..., ::2, 1::2], between[..., 1::2, ::2]  # square
    return fine


def _around(points: Tensor) -> Tensor:
    """Return the sum of the up to four neighbours of each point."""
    padded = F.pad(points, (1, 1, 1, 1))
    rows, columns = padded[..., 1:-1], padded[..., 1:-1, :]
    return rows[..., :-2, :] + rows[..., 2:, :] + columns[..., :-2] + columns[..., 2:]


def _trivially_augmented(images: Tensor, own: torch.Generator) -> Tensor:
    """Return images after one operation, of which every image draws the strength."""
    operation = torch.randint(len(NAMES), (1,), generator=own).expand(len(images))
    return operated(images, operation, torch.randint(STRONGEST + 1, (len(images),), generator=own), own)


def _uniform(bounds: tuple[float, float], count: int, own: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=own)
