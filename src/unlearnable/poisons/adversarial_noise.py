"""Adversarial examples of a trained network as poisons.

``tap`` and ``error_max``: Fowl et al., "Adversarial Examples Make Strong Poisons" (NeurIPS 2021), class-targeted and
untargeted. ``hypo``: Tao et al., "Better Safe Than Sorry: Preventing Delusive Adversaries with Adversarial Training"
(NeurIPS 2021), the hypocritical perturbation P2, which lowers the loss of the true label.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.adversarial import Objective, descend, within
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.poisons.surrogate import CROP_AND_FLIP, Surrogate, Workshop
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE_FRACTION
from unlearnable.seeds import sent_one, uniform
from unlearnable.training.pixels import Pixels

FALLS = (2.667, 1.6, 1.142)  # the learning rate falls after epochs divided by these, rounded down, as published


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Settings of the steps on the images.

    Args:
        linf: bound of the perturbation, in units of [0, 1].
        step: length of a step, in units of [0, 1]; it does not shrink.
        steps: on every image.
        restarts: how many; the one with the lowest mean objective is kept for all images.
        shift: the most pixels that the differentiable augmentation of each step moves an image by; 0 means no
            augmentation. The published code calls 4 pixels 8, an index into 32 places from 0 to 1.
    """

    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255
    step: Annotated[float, POSITIVE_FRACTION] = 0.4 / 255
    steps: Annotated[int, AT_LEAST_ONE] = 250
    restarts: Annotated[int, AT_LEAST_ONE] = 8
    shift: Annotated[float, NON_NEGATIVE] = 4.0


PUBLISHED = Surrogate()
TO_OTHERS = Attack()
TO_ITSELF = Attack(step=0.8 / 255, steps=100, restarts=1, shift=0.0)  # of ``hypo``


@POISONS.add("tap")
def tap(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    epochs: Annotated[int, AT_LEAST_ONE] = 40,
    attack: Attack = TO_OTHERS,
) -> Perturbation:
    """Return perturbations that a network trained for ``epochs`` takes for the next class, label y + 1 modulo the classes."""
    workshop = Workshop(clean, crafting, surrogate, "tap", schedule=_in_steps(epochs), augmentation=CROP_AND_FLIP)
    return _crafted(workshop, attack, lambda labels: workshop.losses((labels + 1) % workshop.num_classes))


@POISONS.add("error_max")
def error_max(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    epochs: Annotated[int, AT_LEAST_ONE] = 40,
    attack: Attack = TO_OTHERS,
) -> Perturbation:
    """Return perturbations that raise the loss of a network trained for ``epochs``."""
    workshop = Workshop(clean, crafting, surrogate, "error_max", schedule=_in_steps(epochs), augmentation=CROP_AND_FLIP)

    def objective(labels: Tensor) -> Objective:
        losses = workshop.losses(labels)
        return lambda images: -losses(images)

    return _crafted(workshop, attack, objective)


@POISONS.add("hypo")
def hypo(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    epochs: Annotated[int, AT_LEAST_ONE] = 40,
    attack: Attack = TO_ITSELF,
) -> Perturbation:
    """Return perturbations that lower the loss of a network trained for ``epochs``; their steps start at the image itself."""
    workshop = Workshop(clean, crafting, surrogate, "hypo", schedule={"epochs": epochs}, augmentation=CROP_AND_FLIP)
    return _crafted(workshop, attack, workshop.losses, deviation=0.0)


def _in_steps(epochs: int) -> dict[str, Any]:
    """Return the schedule of the published surrogate, whose learning rate falls to a tenth after 35, 60 and 88 % of the epochs."""
    return {"epochs": epochs, "nesterov": True, "schedule": "multistep", "milestones": [int(epochs // part) for part in FALLS]}


def _crafted(workshop: Workshop, attack: Attack, objective: Callable[[Tensor], Objective], *, deviation: float = 1.0) -> Perturbation:
    """Train the surrogate, then return the best of the restarts: each starts at Gaussian noise of ``deviation`` times the bound."""
    workshop.train()
    best: Pixels = torch.empty(0)
    lowest = torch.inf
    chunks = workshop.chunks()
    for restart in range(attack.restarts):
        delta, total = workshop.noise(), 0.0
        for number, chunk in enumerate(chunks, start=1):
            losses, images = objective(workshop.labels[chunk]), workshop.images(chunk)
            delta[chunk] = _attacked(workshop, attack, losses, images, deviation)
            with torch.no_grad():
                total += float(losses(images + delta[chunk]).sum())
            workshop.crafting.progress(restart * len(chunks) + number, attack.restarts * len(chunks))
        if total < lowest:
            best, lowest = delta, total
    return best.cpu().numpy()


def _attacked(workshop: Workshop, attack: Attack, losses: Objective, images: Tensor, deviation: float) -> Tensor:
    start = sent_one(torch.randn(images.shape, generator=workshop.generator), images.device) * deviation * attack.linf
    mean = workshop.mean

    def augmented(perturbed: Tensor) -> Tensor:
        return losses(shift_and_flip(perturbed - mean, attack.shift, workshop.generator) + mean if attack.shift else perturbed)

    return descend(augmented, images, within(start, images, attack.linf), linf=attack.linf, step=attack.step, steps=attack.steps)


def shift_and_flip(images: Tensor, shift: float, generator: torch.Generator) -> Tensor:
    """Return each image moved by up to ``shift`` pixels and mirrored at random, bilinear and differentiable; outside is zero."""
    height, width = images.shape[2:]
    draws = uniform((3, len(images)), generator)
    zero, one = torch.zeros(len(images)), torch.ones(len(images))
    rows = [
        torch.stack([draws[2].sign(), zero, draws[0] * 2 * shift / width], 1),
        torch.stack([zero, one, draws[1] * 2 * shift / height], 1),
    ]
    grid = F.affine_grid(sent_one(torch.stack(rows, 1), images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)
