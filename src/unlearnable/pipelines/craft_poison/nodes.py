"""From clean to poisoned images."""

from functools import partial
from typing import TYPE_CHECKING, Any

from unlearnable.config.recipe import RELEASED
from unlearnable.pipelines.progress import bar, log_round

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages


def craft(clean: "LabelledImages", poison: str, settings: dict[str, Any], device: str) -> "LabelledImages":
    """Return the clean training set with the chosen poison applied.

    A released one may cover a part of it; a hook puts what reads it among the settings.
    """
    if poison == RELEASED:
        poisoned: LabelledImages = settings[RELEASED].poisoned(clean)
        return poisoned
    from unlearnable.poisons import Crafting, craft
    from unlearnable.training.device import choose_device, enough_memory

    with bar(f"craft {poison}") as progress, enough_memory(_sized_by(poison, settings.get(poison) or {})):
        crafting = Crafting(
            seed=settings["seed"], device=choose_device(device), progress=progress, report=partial(log_round, "crafting", "round")
        )
        return craft(poison, clean, crafting, settings=settings.get(poison) or {})


def _sized_by(poison: str, settings: dict[str, Any]) -> str:
    """Return the parameter that says how many images are worked at together."""
    sizes = {"surrogate": "surrogate.batch_size", "block_size": "block_size", "batch_size": "batch_size"}
    return next((f"craft.{poison}.{size}" for name, size in sizes.items() if name in settings), "ingest.train_size")
