"""From poisoned to recovered images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.recoveries import LinearWeights


def recover(
    poisoned: "LabelledImages", recovery: str, settings: dict[str, Any], seed: int, device: str
) -> "tuple[LinearWeights, LabelledImages]":
    """Return what the recovery fitted to the poisoned set, and the set that is trained on."""
    from unlearnable.recoveries import recover
    from unlearnable.training.device import choose_device, enough_memory

    with enough_memory("ingest.train_size"):
        return recover(recovery, poisoned, seed=seed, device=choose_device(device), settings=settings.get(recovery) or {})
