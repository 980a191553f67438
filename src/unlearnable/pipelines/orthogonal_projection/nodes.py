"""From poisoned to recovered images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.recoveries import LinearWeights


def recover(
    poisoned: "LabelledImages", recovery: str, settings: dict[str, Any], seed: int, device: str
) -> "tuple[LinearWeights, LabelledImages]":
    """Return the linear model fitted on the poisoned set, and the set with the span of its weights projected out."""
    from unlearnable.recoveries import recover
    from unlearnable.training.device import choose_device

    return recover(recovery, poisoned, seed=seed, device=choose_device(device), settings=settings.get(recovery) or {})
