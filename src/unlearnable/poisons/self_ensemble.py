"""SEP: Chen et al., "Self-Ensemble Protection: Training Checkpoints Are Good Data Protectors" (ICLR 2023), there SEP-FA-VR.

The networks that one training passes through differ much in their gradients, so they are an ensemble that costs one training. The noise
draws the features of an image to the mean features of another class, under all of them at once (feature alignment). The gradient of a
few of them, drawn at random, is corrected by what it was at the start of the step (variance reduction).
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Annotated, Any

import torch
from torch import Tensor

from unlearnable.adversarial import Objective, gradient, within
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, required_by
from unlearnable.poisons.robust_error_minimising import Steps
from unlearnable.poisons.surrogate import CROP_AND_FLIP, Surrogate, Workshop, mean_of_each_class
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE

FALLS = (75 / 120, 90 / 120)  # of the epochs, after which the learning rate falls to a tenth

PUBLISHED = Surrogate()
NOISE = Steps(linf=2 / 255, step=1 / 255, steps=30)
EPOCHS, CHECKPOINTS = 120, 15

Member = Callable[[Tensor], Objective]  # labels (n,) -> how far features of images are from those that they are drawn to


@required_by("sep")
def require_checkpoints(clean: LabelledImages, *, epochs: int = EPOCHS, checkpoints: int = CHECKPOINTS, **others: object) -> None:  # noqa: ARG001
    """Raise InputError if there are fewer epochs than checkpoints."""
    if checkpoints > epochs:
        raise InputError(f"poison 'sep': expected at most a checkpoint an epoch, got {checkpoints} of {epochs}")


@POISONS.add("sep")
def sep(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    epochs: Annotated[int, AT_LEAST_ONE] = EPOCHS,
    checkpoints: Annotated[int, AT_LEAST_ONE] = CHECKPOINTS,
    draws: Annotated[int, NON_NEGATIVE] = 16,
    noise: Steps = NOISE,
) -> Perturbation:
    """Return noise that draws features to those of the class half of all classes further, under checkpoints of one training.

    Args:
        clean: images (N, C, H, W).
        crafting: what decides draws, device and reports.
        surrogate: the network and its training (published: ResNet-18, batches of 128).
        epochs: of the surrogate.
        checkpoints: how many, at equal distances, the last epoch included.
        draws: of a checkpoint in each step (variance reduction); 0 takes the mean gradient of all (published with 30 checkpoints).
        noise: its bound and steps, from zero (published: 30 steps of 1/255 within 2/255).
    """
    require_checkpoints(clean, epochs=epochs, checkpoints=checkpoints)
    workshop = Workshop(clean, crafting, surrogate, "sep", schedule=_schedule(epochs), augmentation=CROP_AND_FLIP)
    kept = kept_epochs(epochs, checkpoints)
    ensemble = [_member(workshop) for epoch in workshop.epochs() if epoch in kept]
    delta, chunks = workshop.noise(), workshop.chunks()
    for number, chunk in enumerate(chunks):
        images, objectives = workshop.images(chunk), [member(workshop.labels[chunk]) for member in ensemble]
        moved = delta[chunk]
        for step in range(noise.steps):
            moved = _step(images, moved, _direction(objectives, images, moved, noise, draws, workshop.generator), noise)
            crafting.progress(number * noise.steps + step + 1, len(chunks) * noise.steps)
        delta[chunk] = moved
    return delta.cpu().numpy()


def kept_epochs(epochs: int, checkpoints: int) -> set[int]:
    """Return the numbers of the epochs, from 1, after which a checkpoint is kept."""
    return {epochs * number // checkpoints for number in range(1, checkpoints + 1)}


def _schedule(epochs: int) -> dict[str, Any]:
    """Return the published schedule: the learning rate rises in the first epoch and falls twice."""
    return {"epochs": epochs, "warmup": 1 / epochs, "schedule": "multistep", "milestones": [int(epochs * part) for part in FALLS]}


def _member(workshop: Workshop) -> Member:
    """Return the surrogate as it is now, as one of the ensemble."""
    classes = workshop.num_classes
    network = workshop.network_of(deepcopy(workshop.trainer.model).requires_grad_(False).eval())
    means = mean_of_each_class(network.features(workshop.pixels), workshop.labels, classes)

    def drawn_to_another_class(labels: Tensor) -> Objective:
        wanted = means[(labels + classes // 2) % classes]
        return lambda images: (network.penultimate(images).float() - wanted).square().sum(1)

    return drawn_to_another_class


def _direction(
    objectives: Sequence[Objective], images: Tensor, delta: Tensor, noise: Steps, draws: int, generator: torch.Generator
) -> Tensor:
    """Return what the sign of a step is taken of: the mean gradient, or the sum of corrected ones along a path of small steps."""
    gradients = torch.stack([gradient(objective, images, delta) for objective in objectives])
    mean = gradients.mean(0)
    if not draws:
        return mean
    direction, inner = torch.zeros_like(delta), delta
    for place in torch.randint(len(objectives), (draws,), generator=generator).tolist():
        direction += gradient(objectives[place], images, inner) - gradients[place] + mean
        inner = _step(images, inner, direction, noise)
    return direction


def _step(images: Tensor, delta: Tensor, direction: Tensor, noise: Steps) -> Tensor:
    return within(delta - noise.step * direction.sign(), images, noise.linf)
