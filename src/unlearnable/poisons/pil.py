"""Noise from a linear surrogate: Liu et al., "Perturbation-Induced Linearization" (PIL, ICLR 2026).

A linear softmax model without bias is trained on the clean images. Then signed steps find noise
in which that model recognises the class, while it is undecided about the image without the noise; the noise is subtracted.
"""

from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnable.adversarial import signed_gradient
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.ranges import AT_LEAST_ONE, FRACTION, POSITIVE, POSITIVE_FRACTION
from unlearnable.seeds import borrowed_global_torch, sent_one, torch_generator, uniform
from unlearnable.training.pixels import Pixels, as_float, no_noise, resident


@POISONS.add("pil")
def pil(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255,
    step: Annotated[float, POSITIVE_FRACTION] = 0.8 / 255,
    steps: Annotated[int, AT_LEAST_ONE] = 30,
    weight: Annotated[float, FRACTION] = 0.9,
    epochs: Annotated[int, AT_LEAST_ONE] = 30,
    learning_rate: Annotated[float, POSITIVE] = 0.003,
    batch_size: Annotated[int, AT_LEAST_ONE] = 512,
) -> Perturbation:
    """Return perturbations in which a linear model sees the class, while it sees nothing in the rest.

    Args:
        clean: images (N, C, H, W).
        crafting: what decides draws, device and reports.
        linf: bound of the noise, in units of [0, 1].
        step: length of a step, in units of [0, 1] (published: a tenth of ``linf``).
        steps: on every image.
        weight: of the noise's cross-entropy against the divergence of the rest from undecided.
        epochs: of the linear model, with momentum 0.9 and a cosine schedule.
        learning_rate: of the linear model.
        batch_size: of the linear model; the set's own order is kept, as published.
    """
    pixels, labels = resident(clean, crafting.device), torch.from_numpy(clean.labels).to(crafting.device)
    linear = _linear(clean, crafting)
    _fit(linear, pixels, labels, crafting, epochs, learning_rate, batch_size)
    generator = torch_generator(crafting.seed, "poison/pil/start")
    perturbation = no_noise(clean.images.shape, crafting.device)
    for chunk in torch.arange(len(clean), device=crafting.device).split(batch_size):
        images = as_float(pixels[chunk])
        objective = partial(_objective, linear, images, labels[chunk], weight)
        noise = sent_one(uniform(images.shape, generator), images.device) * linf
        for _ in range(steps):  # bounded by the ball alone: the range of pixels is left to ``apply``, as published
            noise = (noise - step * signed_gradient(objective, torch.zeros_like(images), noise)).clamp_(-linf, linf)
        perturbation[chunk] = -noise
    return perturbation.cpu().numpy()


def _linear(clean: LabelledImages, crafting: Crafting) -> nn.Linear:
    with borrowed_global_torch(crafting.seed, "poison/pil/model"):
        return nn.Linear(clean.images[0].size, clean.num_classes, bias=False).to(crafting.device)


def _fit(linear: nn.Linear, pixels: Pixels, labels: Tensor, crafting: Crafting, epochs: int, learning_rate: float, batch_size: int) -> None:
    optimiser = torch.optim.SGD(linear.parameters(), lr=learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for images, target in zip(pixels.split(batch_size), labels.split(batch_size), strict=True):
            loss = F.cross_entropy(linear(as_float(images).flatten(1)), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(target)
        schedule.step()
        crafting.progress(epoch, epochs)
        crafting.report(epoch, {"loss": total / len(labels)})


def _objective(linear: nn.Linear, images: Tensor, labels: Tensor, weight: float, noise: Tensor) -> Tensor:
    """Return for each image the cross-entropy of the noise, and the divergence KL(uniform | prediction) of the image less it."""
    rest = F.log_softmax(linear((images - noise).flatten(1)), dim=1)
    undecided = torch.full_like(rest, 1 / rest.shape[1])
    divergence = F.kl_div(rest, undecided, reduction="none").sum(1)
    return weight * F.cross_entropy(linear(noise.flatten(1)), labels, reduction="none") + (1 - weight) * divergence
