"""From a folder of images to a folder of protected copies."""

from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.crafting import crafting

if TYPE_CHECKING:
    from unlearnable.artifacts.copies import Copies
    from unlearnable.images import LabelledImages
    from unlearnable.poisons.own_size import Protection
    from unlearnable.sources.originals import Originals


def look(originals: "Originals") -> "LabelledImages":
    """Return the square in the middle of each image."""
    return originals.seen()


def craft(seen: "LabelledImages", poison: str, settings: dict[str, Any], device: str) -> "Protection":
    """Return the perturbation of each image that the chosen poison crafts on all of them."""
    from unlearnable.poisons import perturb, require
    from unlearnable.poisons.own_size import Protection

    own = settings.get(poison) or {}
    require(poison, seen, own)
    with crafting(poison, settings, device) as given:
        perturbation = perturb(poison, seen, given, settings=own)
    return Protection(perturbation=perturbation, ids=seen.ids, poison=poison, settings=own, seed=settings["seed"])


def protect(originals: "Originals", protection: "Protection", kind: str) -> "Copies":
    """Return the copies, each of which is made as it is written."""
    from unlearnable.pipelines.protect.copying import copies_of

    return copies_of(originals, protection, kind)
