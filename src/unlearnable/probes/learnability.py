"""Certified learnability: a bound on what networks near a trained one reach on clean images.

Wang et al., "Provably Unlearnable Data Examples" (NDSS 2025), with the settings of their code for CIFAR-10
(NeuralSec/certified-data-learnability at 3f34839, certify.py and README.md).

A network is measured many times, each time with other Gaussian noise on all of its weights. Of any network within a distance eta, the
q-quantile of such accuracies is at most the quantile Phi(Phi^-1(q) + eta / sigma) of those of this network, where sigma is the deviation of
the noise. So an upper confidence limit of that quantile bounds the q-quantile of all networks within eta, under the same noise.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from unlearnable.images import LabelledImages
from unlearnable.metrics import accuracy
from unlearnable.models import build
from unlearnable.probes.reweighting import restore
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, NOT_EMPTY, POSITIVE, Range
from unlearnable.seeds import sent_one, torch_generator
from unlearnable.training import Checkpoint, Network, Normalisation, Progress, TrainingRecipe, ignore
from unlearnable.training.pixels import resident

CONFIDENCE = 0.99


@dataclass(frozen=True, kw_only=True)
class LearnabilityRecipe:
    """Settings of certified learnability.

    Args:
        draws: how many times noise is drawn; few draws certify small radii alone.
        deviation: of the noise on each weight (sigma).
        quantile: of the accuracies under noise, which is bounded (q).
        radii: within which the bound holds (eta), as L2 norms of what all weights together are moved by.
    """

    draws: Annotated[int, AT_LEAST_ONE] = 1000
    deviation: Annotated[float, POSITIVE] = 0.25
    quantile: Annotated[float, Range(gt=0, lt=1)] = 0.9
    radii: Annotated[list[Annotated[float, NON_NEGATIVE]], NOT_EMPTY] = field(default_factory=lambda: [0.01, 0.05, 0.1, 0.2, 0.3])


def learnability(
    checkpoint: Checkpoint,
    test: LabelledImages,
    *,
    model: str,
    training: TrainingRecipe,
    recipe: LearnabilityRecipe,
    normalisation: Normalisation,
    seed: int,
    device: torch.device,
    progress: Progress = ignore,
) -> dict[str, Any]:
    """Return the certified learnability of what a network was trained on.

    Args:
        checkpoint: of the network.
        test: the clean test images.
        model: the name of the network.
        training: the recipe that it was trained with.
        recipe: how.
        normalisation: of the training: mean and standard deviation of each channel, in units of [0, 1].
        seed: decides the noise.
        device: where.
        progress: called with draws done and in all.

    Returns:
        ``plain_accuracy`` without noise; ``accuracies`` under noise, in rising order; ``bounds``, an accuracy for each radius, or None
        where draws are too few; ``deviation``, ``quantile``, ``confidence`` and ``seconds``. Accuracies are fractions.

    Raises:
        InputError: the checkpoint is of another network.
    """
    start = time.perf_counter()
    built = build(model, shape=test.shape, num_classes=test.num_classes, seed=seed, initialisation=training.initialisation)
    network = Network(built, normalisation, device, training.precision)
    restore(network, checkpoint.state, checkpoint.epoch, model)
    pixels, labels = resident(test, device), torch.from_numpy(test.labels).to(device)
    accuracies = []
    for done, _ in enumerate(noisy(network, recipe, seed=seed), 1):
        accuracies.append(accuracy(network.logits(pixels), labels))
        progress(done, recipe.draws)
    return {
        "plain_accuracy": accuracy(network.logits(pixels), labels),
        "accuracies": sorted(accuracies),
        "bounds": {f"{radius:g}": upper_bound(accuracies, radius, recipe) for radius in recipe.radii},
        "deviation": recipe.deviation,
        "quantile": recipe.quantile,
        "confidence": CONFIDENCE,
        "seconds": time.perf_counter() - start,
    }


@torch.no_grad()
def noisy(network: Network, recipe: LearnabilityRecipe, *, seed: int) -> Iterator[None]:
    """Put noise on all weights of a network, anew for each step of the iteration; after the last step it has its own again."""
    weights = list(network.model.parameters())
    own = [weight.clone() for weight in weights]
    for draw in range(recipe.draws):
        generator = torch_generator(seed, f"probe/learnability/{draw}")
        for weight, trained in zip(weights, own, strict=True):
            weight.copy_(trained + recipe.deviation * _drawn(trained, generator))
        yield
    for weight, trained in zip(weights, own, strict=True):
        weight.copy_(trained)


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    return sent_one(torch.randn(like.shape, generator=generator), like.device)


def upper_bound(accuracies: Sequence[float], radius: float, recipe: LearnabilityRecipe) -> float | None:
    """Return the bound for networks within ``radius`` of one with these ``accuracies`` under noise; None if they are too few.

    It is the lowest of them that is no lower than the quantile in question, with the confidence, whatever their distribution.
    """
    from scipy.stats import norm, quantile_test  # which take a second

    reached = float(norm.cdf(norm.ppf(recipe.quantile) + radius / recipe.deviation))
    if reached >= 1:
        return None
    limits = quantile_test(accuracies, p=reached, alternative="less").confidence_interval(confidence_level=CONFIDENCE)
    return None if math.isnan(limits.high) else float(limits.high)
