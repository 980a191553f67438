"""MI-UE: "Why Do Unlearnable Examples Work: A Novel Perspective of Mutual Information" (ICLR 2026).

As in error-minimising noise a surrogate and the noise take turns, but the noise lowers another loss: it draws the features of a class
together, and apart from those of all others, by the cosine of the angle between them.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.adversarial import Objective, descend
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.poisons.surrogate import FALLING, Surrogate, Workshop
from unlearnable.ranges import AT_LEAST_ONE, POSITIVE, POSITIVE_FRACTION
from unlearnable.training import Augmentation
from unlearnable.training.augmentation import augment

MIRRORED = Augmentation(flip=True)  # images are, the noise on them is not: the published code does so


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Settings of the noise.

    Args:
        linf: its bound, in units of [0, 1].
        step: length of a step in the first epoch, in units of [0, 1].
        last_step: what the length tends to, linearly, by the end of the last epoch.
        steps: on every image in an epoch.
        batch_size: images whose features are compared with each other.
        temperature: by which cosines are divided.
    """

    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255
    step: Annotated[float, POSITIVE_FRACTION] = 0.2 / 255
    last_step: Annotated[float, POSITIVE_FRACTION] = 0.4 / 255
    steps: Annotated[int, AT_LEAST_ONE] = 10
    batch_size: Annotated[int, AT_LEAST_ONE] = 512
    temperature: Annotated[float, POSITIVE] = 0.1

    def step_after(self, done: float) -> float:
        """Return the length of a step when a fraction of the epochs is done."""
        return self.step + done * (self.last_step - self.step)


PUBLISHED = Surrogate(weight_decay=1e-4)
NOISE = Gathering()


@POISONS.add("mi_ue")
def mi_ue(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    epochs: Annotated[int, AT_LEAST_ONE] = 100,
    noise: Gathering = NOISE,
) -> Perturbation:
    """Return noise that gathers the features of each class (published: ResNet-18, 100 epochs, 10 steps of 0.2/255 in the first)."""
    workshop = Workshop(clean, crafting, surrogate, "mi_ue", schedule={"epochs": epochs, **FALLING})

    def moved(batch: Tensor, delta: Tensor, done: int) -> Tensor:
        apart, step = gathered(workshop, workshop.labels[batch], noise.temperature), noise.step_after(done / epochs)
        return descend(apart, _mirrored(workshop, batch), delta, linf=noise.linf, step=step, steps=noise.steps)

    return workshop.taking_turns(lambda batch, delta: _mirrored(workshop, batch) + delta, moved, noise.batch_size).cpu().numpy()


def gathered(workshop: Workshop, labels: Tensor, temperature: float) -> Objective:
    """Return how little the features of images (N, C, H, W) have to do with those of their own class, given ``labels`` (N,).

    For each image it is -log(sum over its class of exp(cos / temperature) / the same sum over all images), itself included in both.
    """
    workshop.trainer.model.eval()
    others = labels[:, None] != labels

    def apart(images: Tensor) -> Tensor:
        directions = F.normalize(workshop.trainer.penultimate(images).float())
        likeness = directions @ directions.T / temperature
        return likeness.logsumexp(1) - likeness.masked_fill(others, -torch.inf).logsumexp(1)

    return apart


def _mirrored(workshop: Workshop, batch: Tensor) -> Tensor:
    """Return clean images, a random half of them mirrored."""
    return augment(workshop.images(batch), MIRRORED, workshop.generator)
