"""From poisoned to recovered images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages


def recover(
    poisoned: "LabelledImages", clean: "LabelledImages", recovery: str, settings: dict[str, Any], seed: int, device: str
) -> "LabelledImages":
    """Return the set that the chosen recovery makes, which is trained on; some are given a few of the clean images."""
    from unlearnable.recoveries import recover
    from unlearnable.training.device import choose_device, enough_memory

    with enough_memory("ingest.train_size"):
        chosen = settings.get(recovery) or {}
        return recover(recovery, poisoned, clean=clean, seed=seed, device=choose_device(device), settings=chosen)
