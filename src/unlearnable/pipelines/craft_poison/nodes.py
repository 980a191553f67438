"""From clean to poisoned images."""

from typing import TYPE_CHECKING, Any

from unlearnable.config.recipe import RELEASED
from unlearnable.pipelines.crafting import crafting

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages


def craft(clean: "LabelledImages", poison: str, settings: dict[str, Any], device: str) -> "LabelledImages":
    """Return the clean training set with the chosen poison applied.

    A released one may cover a part of it; a hook puts what reads it among the settings.
    """
    if poison == RELEASED:
        poisoned: LabelledImages = settings[RELEASED].poisoned(clean)
        return poisoned
    from unlearnable.poisons import craft

    with crafting(poison, settings, device) as given:
        return craft(poison, clean, given, settings=settings.get(poison) or {})
