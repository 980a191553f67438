"""Recoveries that show the network other views of every batch.

Cutout: DeVries and Taylor (2017). CutMix: Yun et al. (ICCV 2019), with beta 1. Mixup: Zhang et al. (ICLR 2018). A mixing
recovery replaces the CutMix that a training recipe may have.

COIN: Li et al., "Detecting and Corrupting Convolution-based Unlearnable Examples" (AAAI 2025), with severity 4 of their code
(wxldragon/COIN at 6577fa8, train.py). ECLIPSE: Wang et al., "ECLIPSE: Expunging Clean-label Indiscriminate Poisons via Sparse Diffusion
Purification" (ESORICS 2024), with the settings of their code (wxldragon/ECLIPSE at 1eb709f, train.py).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.ranges import FRACTION, POSITIVE, POSITIVE_FRACTION
from unlearnable.recoveries.base import BatchRecovery, register
from unlearnable.recoveries.pixels import in_grey
from unlearnable.seeds import uniform
from unlearnable.training import Draws, Trainer, mixed_loss, pasted_loss
from unlearnable.training.augmentation import Shape, draw_cutmix


@register("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(BatchRecovery):
    """New noise on every image in every epoch; values outside [0, 1] are kept.

    Args:
        deviation: of the noise, in units of [0, 1].
    """

    deviation: Annotated[float, POSITIVE] = 0.1

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return noise of deviation one."""
        return {"noise": torch.randn(count, *shape, generator=own)}

    def transform(self, images: Tensor, own: Draws) -> Tensor:
        """Return images with noise."""
        return images + self.deviation * own["noise"]


@register("cutout")
@dataclass(frozen=True, kw_only=True)
class Cutout(BatchRecovery):
    """A black square at a random place of every image, which may extend over its edge.

    Args:
        side: of the square, a fraction of the image's height; one half is published for CIFAR-10.
    """

    side: Annotated[float, POSITIVE_FRACTION] = 0.5

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:  # noqa: ARG002
        """Return the centre of each square, as fractions of height and width."""
        return {"centres": torch.rand(count, 2, generator=own)}

    def transform(self, images: Tensor, own: Draws) -> Tensor:
        """Return images with a hole."""
        height, width = images.shape[2:]
        half, centres = self.side * height / 2, own["centres"]
        rows = torch.arange(height, device=images.device) + 0.5
        columns = torch.arange(width, device=images.device) + 0.5
        in_rows = (rows - centres[:, :1] * height).abs() < half
        in_columns = (columns - centres[:, 1:] * width).abs() < half
        return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


@register("cutmix")
@dataclass(frozen=True, kw_only=True)
class CutMix(BatchRecovery):
    """A box of another image in every image, and its label by the box's share.

    Args:
        probability: that a batch is mixed.
    """

    mixes: ClassVar[bool] = True
    probability: Annotated[float, FRACTION] = 1.0

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return the box, and whose it is."""
        return draw_cutmix(self.probability, count, shape, own)

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:  # noqa: ARG002
        """Return the loss of the mixed batch."""
        return pasted_loss(trainer, images, labels, own)


@register("mixup")
@dataclass(frozen=True, kw_only=True)
class Mixup(BatchRecovery):
    """A weighted mean of two images, and of their labels.

    Args:
        alpha: of the beta distribution of the weight.
    """

    mixes: ClassVar[bool] = True
    alpha: Annotated[float, POSITIVE] = 1.0

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:  # noqa: ARG002
        """Return the weight of the first image and of the other, and which that is."""
        gamma = torch._standard_gamma(torch.full((2,), self.alpha), generator=own)
        kept = float(gamma[0] / gamma.sum())
        return {"order": torch.randperm(count, generator=own), "shares": torch.tensor([kept, 1 - kept])}

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:  # noqa: ARG002
        """Return the loss of the mixed batch."""
        return mixed_loss(trainer, torch.lerp(images[own["order"]], images, own["shares"][0]), labels, own)


@register("coin")
@dataclass(frozen=True, kw_only=True)
class Coin(BatchRecovery):
    """Each pixel is taken from a random place near it, the same for all channels, between the four pixels there.

    Args:
        reach: how far away that place may be along each axis, in pixels.
    """

    reach: Annotated[float, POSITIVE] = 2.0

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return for each pixel how far its place is to the right and below, as shares of the reach: (N, 2, H, W) in [-1, 1)."""
        return {"shifts": uniform((count, 2, *shape[1:]), own)}

    def transform(self, images: Tensor, own: Draws) -> Tensor:
        """Return images of pixels from other places; what leaves one side comes in at the other."""
        height, width = images.shape[2:]
        right, below = own["shifts"].unbind(1)
        x = torch.arange(width, device=images.device) + self.reach * right
        y = torch.arange(height, device=images.device)[:, None] + self.reach * below
        # The first and the last pixel are one place, as with the mode "wrap" of SciPy; -1 is the first and 1 the last.
        grid = torch.stack([2 * x.remainder(width - 1) / (width - 1) - 1, 2 * y.remainder(height - 1) / (height - 1) - 1], -1)
        return F.grid_sample(images, grid, mode="bilinear", align_corners=True)


@register("eclipse_augmentation")
@dataclass(frozen=True, kw_only=True)
class EclipseAugmentation(BatchRecovery):
    """Some images in grey, and noise on all of them, clipped to [0, 1]: the part of ECLIPSE that needs no clean images.

    Args:
        grey: the probability that an image is turned grey.
        deviation: of the noise, in units of [0, 1].
    """

    grey: Annotated[float, FRACTION] = 0.4
    deviation: Annotated[float, POSITIVE] = 0.05

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return which images turn grey (N, 1, 1, 1), and noise of deviation one."""
        grey = torch.rand(count, 1, 1, 1, generator=own) < self.grey
        return {"grey": grey, "noise": torch.randn(count, *shape, generator=own)}

    def transform(self, images: Tensor, own: Draws) -> Tensor:
        """Return some images in grey, all with noise."""
        images = torch.where(own["grey"], in_grey(images), images)
        return (images + self.deviation * own["noise"]).clamp(0, 1)
