"""Robust error-minimising noise: Fu et al., "Robust Unlearnable Examples" (ICLR 2022).

The noise (the defender) lowers a loss that an adversary has raised, averaged over random transformations of the image, so
that adversarial training does not undo it. The surrogate is trained on images that both have changed. Noise is rounded
to whole levels, as it is stored.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from unlearnable.adversarial import descend, random_start
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.poisons.surrogate import CROP_AND_FLIP, Surrogate, Workshop
from unlearnable.ranges import AT_LEAST_ONE, POSITIVE_FRACTION
from unlearnable.training.augmentation import augment

DECAY = 0.1  # of the learning rate, after each ``decay_every`` steps
REPORTS = 50  # rounds that all training steps are reported as


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Signed gradient steps in a ball.

    Args:
        linf: its radius, in units of [0, 1].
        step: length of a step, in units of [0, 1].
        steps: how many.
    """

    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255
    step: Annotated[float, POSITIVE_FRACTION] = 1.6 / 255
    steps: Annotated[int, AT_LEAST_ONE] = 10


PUBLISHED = Surrogate()
DEFENDER = Steps()
ADVERSARY = Steps(linf=4 / 255, step=0.8 / 255)


@POISONS.add("rem")
def rem(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    train_steps: Annotated[int, AT_LEAST_ONE] = 5000,
    decay_every: Annotated[int, AT_LEAST_ONE] = 2000,
    defender: Steps = DEFENDER,
    adversary: Steps = ADVERSARY,
    transformations: Annotated[int, AT_LEAST_ONE] = 5,
) -> Perturbation:
    """Return noise whose loss stays low under crops, flips and an adversary.

    Args:
        clean: images (N, C, H, W).
        crafting: what decides draws, device and reports.
        surrogate: the network and its training (published: ResNet-18, batches of 128).
        train_steps: of the surrogate.
        decay_every: its learning rate falls to a tenth after each so many steps.
        defender: the noise (published: 10 steps of 1.6/255 within 8/255).
        adversary: the steps against it (published: 10 steps of 0.8/255 within 4/255).
        transformations: how many are drawn for each step of the defender, whose gradient is the mean over them.
    """
    workshop = Workshop(clean, crafting, surrogate, "rem")
    passes = train_steps + len(workshop.chunks())
    for number, batch in zip(range(1, train_steps + 1), workshop.batches(), strict=False):
        for group in workshop.trainer.optimiser.param_groups:
            group["lr"] = surrogate.learning_rate * DECAY ** ((number - 1) // decay_every)
        loss = _train(workshop, batch, defender, adversary, transformations)
        crafting.progress(number, passes)
        if number % max(1, train_steps // REPORTS) == 0:
            crafting.report(number, {"loss": float(loss)})
    delta = workshop.noise()
    for number, chunk in enumerate(workshop.chunks(), start=1):
        delta[chunk] = _defended(workshop, chunk, defender, adversary, transformations)
        crafting.progress(train_steps + number, passes)
    return delta.cpu().numpy()


def _train(workshop: Workshop, batch: Tensor, defender: Steps, adversary: Steps, transformations: int) -> Tensor:
    """Train the surrogate on one batch, changed by defender and adversary; return the loss."""
    delta = _defended(workshop, batch, defender, adversary, transformations)
    seen = augment(workshop.images(batch) + delta, CROP_AND_FLIP, workshop.generator)
    seen = seen + _raised(workshop, seen, workshop.labels[batch], adversary)
    return workshop.trainer.step(seen, workshop.labels[batch], workshop.generator)


def _defended(workshop: Workshop, batch: Tensor, defender: Steps, adversary: Steps, transformations: int) -> Tensor:
    """Return the noise of a batch, from a random start, in whole levels."""
    images, labels = workshop.images(batch), workshop.labels[batch]
    losses = workshop.losses(labels)
    delta = random_start(images, defender.linf, workshop.generator)

    def transformed(perturbed: Tensor) -> Tensor:
        seen = augment(perturbed, CROP_AND_FLIP, workshop.generator)
        return losses(seen + _raised(workshop, seen.detach(), labels, adversary))

    def expected(perturbed: Tensor) -> Tensor:
        return torch.stack([transformed(perturbed) for _ in range(transformations)]).mean(0)

    delta = descend(expected, images, delta, linf=defender.linf, step=defender.step, steps=defender.steps)
    return delta.mul(255).round().div(255)


def _raised(workshop: Workshop, images: Tensor, labels: Tensor, adversary: Steps) -> Tensor:
    """Return the perturbation by which the adversary raises the loss."""
    losses = workshop.losses(labels)
    start = random_start(images, adversary.linf, workshop.generator)
    return descend(lambda seen: -losses(seen), images, start, linf=adversary.linf, step=adversary.step, steps=adversary.steps)
