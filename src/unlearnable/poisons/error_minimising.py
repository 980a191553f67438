"""Error-minimising noise: Huang et al., "Unlearnable Examples: Making Personal Data Unexploitable" (ICLR 2021).

A surrogate and the noise take turns at lowering the same loss: a few training batches, then signed gradient steps on the
noise, until the surrogate makes hardly any error on the perturbed images.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, islice
from typing import Annotated

import torch
from torch import Tensor

from unlearnable.adversarial import descend, within
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, made_at_any_size, turns_pixels
from unlearnable.poisons.ops import with_shortcuts
from unlearnable.poisons.surrogate import OfEachClass, Surrogate, Workshop
from unlearnable.ranges import AT_LEAST_ONE, FRACTION, POSITIVE_FRACTION
from unlearnable.training.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class ErrorMinimisation:
    """Settings of the noise.

    Args:
        linf: its bound, in units of [0, 1].
        step: length of a step, in units of [0, 1].
        steps: on every image in a round (class-wise noise always takes one for each batch).
        train_batches: batches that the surrogate is trained on before these steps.
        stop_error: training error at which the rounds end.
        rounds: the most rounds; None has no limit but ``stop_error``, as published.
    """

    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255
    step: Annotated[float, POSITIVE_FRACTION] = 0.8 / 255
    steps: Annotated[int, AT_LEAST_ONE] = 20
    train_batches: Annotated[int, AT_LEAST_ONE] = 10
    stop_error: Annotated[float, FRACTION] = 0.01
    rounds: Annotated[int | None, AT_LEAST_ONE] = None


PUBLISHED = Surrogate(batch_size=512, gradient_clip=5.0)
OF_EACH_IMAGE = ErrorMinimisation()
OF_EACH_CLASS = ErrorMinimisation(stop_error=0.1)

turns_pixels(1, "ops_plus_em")
made_at_any_size("ops_plus_em")  # or its pixel would be spread over its neighbours


@POISONS.add("em_samplewise")
def em_samplewise(
    clean: LabelledImages, crafting: Crafting, *, surrogate: Surrogate = PUBLISHED, noise: ErrorMinimisation = OF_EACH_IMAGE
) -> Perturbation:
    """Return error-minimising noise with one pattern for each image (published: ResNet-18, 20 steps of 0.8/255)."""
    workshop = Workshop(clean, crafting, surrogate, "em_samplewise")
    delta = workshop.noise()
    batches, chunks = workshop.batches(), workshop.chunks()
    for number in _rounds(noise):
        for batch in islice(batches, noise.train_batches):
            workshop.trainer.step(workshop.images(batch) + delta[batch], workshop.labels[batch], workshop.generator)
        for done, chunk in enumerate(chunks, start=1):
            losses, images = workshop.losses(workshop.labels[chunk]), workshop.images(chunk)
            delta[chunk] = descend(losses, images, delta[chunk], linf=noise.linf, step=noise.step, steps=noise.steps)
            crafting.progress((number - 1) * len(chunks) + done, (noise.rounds or number) * len(chunks))
        if _round_ends(workshop, noise, number, delta):
            break
    return delta.cpu().numpy()


@POISONS.add("em_classwise")
def em_classwise(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    noise: ErrorMinimisation = OF_EACH_CLASS,
    portion: Annotated[float, POSITIVE_FRACTION] = 0.2,
) -> Perturbation:
    """Return error-minimising noise with one pattern for each class, found on a ``portion`` of the images (published: 0.2)."""
    workshop = Workshop(clean, crafting, surrogate, "em_classwise")
    patterns = torch.zeros(clean.num_classes, *clean.shape, device=crafting.device)
    order = torch.randperm(len(clean), generator=workshop.generator).to(crafting.device)
    subset = order[: max(1, round(portion * len(clean)))]
    batches = workshop.batches()
    for number in _rounds(noise):
        for batch in islice(batches, noise.train_batches):
            labels = workshop.labels[batch]
            workshop.trainer.step(workshop.images(batch) + patterns[labels], labels, workshop.generator)
        for chunk in subset.split(surrogate.batch_size):
            _class_step(workshop, patterns, chunk, noise)
        crafting.progress(number, noise.rounds or number)
        if _round_ends(workshop, noise, number, OfEachClass(patterns, workshop.labels)):
            break
    return OfEachClass(patterns, workshop.labels).cpu().numpy()


@POISONS.add("ops_plus_em")
def ops_plus_em(
    clean: LabelledImages, crafting: Crafting, *, surrogate: Surrogate = PUBLISHED, noise: ErrorMinimisation = OF_EACH_IMAGE
) -> Perturbation:
    """Return sample-wise error-minimising noise with the clean images' one-pixel shortcuts in it (published as CIFAR-10-S)."""
    return with_shortcuts(clean, em_samplewise(clean, crafting, surrogate=surrogate, noise=noise))


def _rounds(noise: ErrorMinimisation) -> Iterable[int]:
    return count(1) if noise.rounds is None else range(1, noise.rounds + 1)


def _class_step(workshop: Workshop, patterns: Tensor, chunk: Tensor, noise: ErrorMinimisation) -> None:
    """Move the pattern of each class in the batch, in place, to the mean of its images' own steps."""
    labels, images = workshop.labels[chunk], workshop.images(chunk)
    start = within(patterns[labels], images, noise.linf)
    moved = descend(workshop.losses(labels), images, start, linf=noise.linf, step=noise.step, steps=1)
    sums = torch.zeros_like(patterns).index_add_(0, labels, moved)
    counts = torch.bincount(labels, minlength=len(patterns))
    present = counts > 0
    patterns[present] = (sums[present] / counts[present].view(-1, 1, 1, 1)).clamp_(-noise.linf, noise.linf)


def _round_ends(workshop: Workshop, noise: ErrorMinimisation, number: int, delta: Pixels | OfEachClass) -> bool:
    """Report the round; return whether the surrogate errs little enough."""
    error = workshop.error(delta)
    workshop.crafting.report(number, {"train_error": error})
    return error <= noise.stop_error
