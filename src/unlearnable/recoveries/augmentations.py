"""Recoveries that show the network other views of every batch.

Cutout: DeVries and Taylor (2017). CutMix: Yun et al. (ICCV 2019), with beta 1. Mixup: Zhang et al. (ICLR 2018). A mixing
recovery takes the place of the CutMix that a training recipe may have.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from unlearnable.ranges import FRACTION, POSITIVE, POSITIVE_FRACTION
from unlearnable.recoveries.base import BatchRecovery, register
from unlearnable.training import Trainer, mixed_loss
from unlearnable.training.augmentation import cutmix


@register("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(BatchRecovery):
    """New noise on every image in every epoch; what leaves [0, 1] stays there.

    Args:
        deviation: of the noise, in units of [0, 1].
    """

    deviation: Annotated[float, POSITIVE] = 0.1

    def transform(self, images: Tensor, own: torch.Generator) -> Tensor:
        """Return images with noise."""
        return images + self.deviation * torch.randn(images.shape, generator=own).to(images.device)


@register("cutout")
@dataclass(frozen=True, kw_only=True)
class Cutout(BatchRecovery):
    """A black square at a random place of every image, which may reach over its edge.

    Args:
        side: of the square, a fraction of the image's height; one half is published for CIFAR-10.
    """

    side: Annotated[float, POSITIVE_FRACTION] = 0.5

    def transform(self, images: Tensor, own: torch.Generator) -> Tensor:
        """Return images with a hole."""
        height, width = images.shape[2:]
        half = self.side * height / 2
        centres = torch.rand(len(images), 2, generator=own).to(images.device)
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

    probability: Annotated[float, FRACTION] = 1.0

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: torch.Generator, own: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return the loss of the mixed batch."""
        if float(torch.rand(1, generator=own)) >= self.probability:
            return trainer.cross_entropy(trainer.forward(images), labels)
        return mixed_loss(trainer, *cutmix(images, own), labels)


@register("mixup")
@dataclass(frozen=True, kw_only=True)
class Mixup(BatchRecovery):
    """A weighted mean of two images, and of their labels.

    Args:
        alpha: of the beta distribution of the weight.
    """

    alpha: Annotated[float, POSITIVE] = 1.0

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: torch.Generator, own: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return the loss of the mixed batch."""
        gamma = torch._standard_gamma(torch.full((2,), self.alpha), generator=own)
        kept = float(gamma[0] / gamma.sum())
        order = torch.randperm(len(images), generator=own).to(images.device)
        return mixed_loss(trainer, torch.lerp(images[order], images, kept), order, kept, labels)
