"""From clean to poisoned images."""

from typing import TYPE_CHECKING, Any

from unlearnable.config.recipe import RELEASED
from unlearnable.pipelines.crafting import crafting

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages


def craft(clean: "LabelledImages", poison: str, settings: dict[str, Any], device: str) -> "LabelledImages":
    """Return the clean training set with the chosen poison applied, or several, to all of it or to a part.

    A released one may cover a part of it; a hook puts what reads it among the settings.
    """
    if poison == RELEASED:
        poisoned: LabelledImages = settings[RELEASED].poisoned(clean)
        return poisoned
    from unlearnable.parts import each_protected, protected_parts
    from unlearnable.poisons import craft

    def protect(name: str, images: "LabelledImages") -> "LabelledImages":
        with crafting(name, settings, device) as given:
            return craft(name, images, given, settings=settings.get(name) or {})

    return each_protected(clean, protected_parts(clean, poison, settings), protect)
