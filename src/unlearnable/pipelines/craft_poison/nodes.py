"""From clean to poisoned images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages


def craft(clean: "LabelledImages", poison: str, settings: dict[str, Any], seed: int) -> "LabelledImages":
    """Return the clean training set with the chosen poison applied."""
    from unlearnable.poisons import craft

    return craft(poison, clean, seed=seed, settings=settings.get(poison) or {})
