"""Algorithm 1: fit a linear model, take the QR decomposition of its weights, and project their span out of the images."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages, Projection
    from unlearnable.recoveries import LinearWeights


def fit_linear_model(poisoned: "LabelledImages", settings: dict[str, Any], seed: int, device: str) -> "LinearWeights":
    """Return the linear model that is fitted to the poisoned set."""
    from unlearnable.recoveries import OrthogonalProjection
    from unlearnable.training.device import choose_device, enough_memory

    with enough_memory("ingest.train_size"):
        return OrthogonalProjection(**settings).fit(poisoned, seed=seed, device=choose_device(device))


def find_directions(linear: "LinearWeights", settings: dict[str, Any]) -> "Projection":
    """Return the projection that removes the directions which the weights span."""
    from unlearnable.recoveries import OrthogonalProjection

    return OrthogonalProjection(**settings).directions_of(linear)


def project(poisoned: "LabelledImages", directions: "Projection") -> "LabelledImages":
    """Return the poisoned set, seen through the projection."""
    return replace(poisoned, projection=directions, seconds=directions.seconds)
