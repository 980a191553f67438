"""Adversarial training: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks" (ICLR 2018), Section 3."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from unlearnable.adversarial import descend, within
from unlearnable.ranges import AT_LEAST_ONE, POSITIVE, POSITIVE_FRACTION
from unlearnable.recoveries.base import BatchRecovery, Needs, register
from unlearnable.seeds import uniform
from unlearnable.training import Draws, Trainer, plain_loss
from unlearnable.training.augmentation import Shape


@register("adversarial_training")
@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(BatchRecovery):
    """Training on images that are changed, within a radius, to raise the loss of the network.

    Args:
        linf: the radius in the maximum norm, in units of [0, 1].
        step: of each signed gradient step, in units of [0, 1].
        steps: how many, from a random start.
    """

    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255
    step: Annotated[float, POSITIVE] = 2 / 255
    steps: Annotated[int, AT_LEAST_ONE] = 10

    @property
    def needs(self) -> Needs:
        """A pass for every step of the attack."""
        return Needs(passes=1.0 + self.steps)

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:
        """Return where the attack starts, in a ball of radius one."""
        return {"start": uniform((count, *shape), own)}

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:
        """Return the loss of the attacked batch."""
        return plain_loss(trainer, self.attacked(trainer, images, labels, own), labels, shared, own)

    def attacked(self, trainer: Trainer, images: Tensor, labels: Tensor, own: Draws) -> Tensor:
        """Return images (N, C, H, W) within the radius, and in [0, 1], that raise the network's loss."""
        trainer.model.eval()  # so that the attack does not move the statistics of BatchNorm
        delta = within(own["start"] * self.linf, images, self.linf)
        delta = descend(
            lambda seen: -trainer.cross_entropy(trainer.forward(seen), labels, reduction="none"),
            images,
            delta,
            linf=self.linf,
            step=self.step,
            steps=self.steps,
        )
        trainer.model.train()
        return images + delta
