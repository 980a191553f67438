"""From clean to poisoned images."""

from typing import TYPE_CHECKING, Any

from unlearnable.config.recipe import craft_seed
from unlearnable.pipelines.progress import bar, log_round

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages


def craft(clean: "LabelledImages", poison: str, settings: dict[str, Any], seed: int, device: str) -> "LabelledImages":
    """Return the clean training set with the chosen poison applied."""
    from unlearnable.poisons import Crafting, craft
    from unlearnable.training.device import choose_device

    with bar(f"craft {poison}") as progress:
        own_seed = craft_seed(settings, seed)
        crafting = Crafting(seed=own_seed, device=choose_device(device), progress=progress, report=log_round)
        return craft(poison, clean, crafting, settings=settings.get(poison) or {})
