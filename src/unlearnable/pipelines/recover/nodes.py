"""From poisoned to recovered images."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages


def recover(
    poisoned: "LabelledImages", clean: "LabelledImages", recovery: str, settings: dict[str, Any], seed: int, device: str
) -> "LabelledImages":
    """Return the set that the chosen recovery makes, which is trained on; some are given a few of the clean images."""
    from unlearnable.pipelines.progress import bar
    from unlearnable.recoveries import RECOVERIES, recover
    from unlearnable.training import ignore
    from unlearnable.training.device import choose_device, enough_memory

    chosen = settings.get(recovery) or {}
    shown = bar(f"recover by {recovery}") if RECOVERIES[recovery].shows_progress else nullcontext(ignore)
    with shown as progress, enough_memory("ingest.train_size"):
        return recover(recovery, poisoned, clean=clean, seed=seed, device=choose_device(device), settings=chosen, progress=progress)
