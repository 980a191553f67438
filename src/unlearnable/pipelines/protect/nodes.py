"""From a folder of images to a folder of protected copies."""

from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.crafting import crafting

if TYPE_CHECKING:
    from unlearnable.artifacts.copies import Copies
    from unlearnable.images import LabelledImages
    from unlearnable.poisons.own_size import Protection
    from unlearnable.sources.originals import OriginalFolder


def look(originals: "OriginalFolder") -> "LabelledImages":
    """Return the square in the middle of each image."""
    return originals.seen()


def craft(seen: "LabelledImages", poison: str, settings: dict[str, Any], device: str) -> "Protection":
    """Return a perturbation for each image, crafted by the chosen poison on all of them."""
    from unlearnable.poisons import perturb, require
    from unlearnable.poisons.own_size import Protection

    own = settings.get(poison) or {}
    require(poison, seen, own)
    with crafting(poison, settings, device) as given:
        perturbation = perturb(poison, seen, given, settings=own)
    return Protection(perturbation=perturbation, ids=seen.ids, poison=poison, settings=own, seed=settings["seed"])


def protect(originals: "OriginalFolder", protection: "Protection", kind: str) -> "Copies":
    """Return the copies; each is made only when it is written."""
    from unlearnable.pipelines.protect.copying import copies_of

    return copies_of(originals, protection, kind)
