"""From clean to poisoned images."""

from functools import partial
from typing import TYPE_CHECKING, Any

from unlearnable.config.recipe import RELEASED, craft_seed
from unlearnable.pipelines.progress import bar, log_round

if TYPE_CHECKING:
    from unlearnable.datasets.released import Released
    from unlearnable.images import LabelledImages


def craft(clean: "LabelledImages", released: "Released", poison: str, settings: dict[str, Any], seed: int, device: str) -> "LabelledImages":
    """Return the clean training set with the chosen poison applied; a released one may cover a part of it."""
    if poison == RELEASED:
        return released.poisoned(clean)
    from unlearnable.poisons import Crafting, craft
    from unlearnable.training.device import choose_device, enough_memory

    with bar(f"craft {poison}") as progress, enough_memory(_sized_by(poison, settings.get(poison) or {})):
        own_seed = craft_seed(settings, seed)
        crafting = Crafting(seed=own_seed, device=choose_device(device), progress=progress, report=partial(log_round, "crafting", "round"))
        return craft(poison, clean, crafting, settings=settings.get(poison) or {})


def _sized_by(poison: str, settings: dict[str, Any]) -> str:
    """Return the parameter that says how many images are worked at together."""
    sizes = {"surrogate": "surrogate.batch_size", "block_size": "block_size", "batch_size": "batch_size"}
    return next((f"craft.{poison}.{size}" for name, size in sizes.items() if name in settings), "ingest.train_size")
