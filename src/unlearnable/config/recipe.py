"""What this project says of its recipes: where a run chooses, what cannot change a result, and the format.

A recipe is every setting that decides a result, seeds included. Its hash is in the path of the result, so a changed parameter is never
answered with an old result, and settings that cannot change the bytes (device, threads, paths) are left out. The precision ``auto`` is
kept as the word: who compares devices sets one of the others.
"""

from typing import Any

import unlearnable
from unlearnable.config.graph import Choice, Recipe
from unlearnable.config.settings import settings
from unlearnable.parts import MIXTURE
from unlearnable.plugins import identity, package_of_class

FORMAT = 6  # raise where the same parameters would give other bytes: a new recipe, or a new file format

NONE = "none"  # the poison and the recovery that leave everything as it is
RELEASED = "released"  # the poison that is read from the entry released_poison, where the others are crafted
PARTS = ("share", "classes")  # of the block craft: which images are protected
CHOICES = (
    Choice(
        block="craft",
        by=("poison",),
        nothing=NONE,
        shared=("seed",),
        optional=PARTS,
        mixture=MIXTURE,
        entries={RELEASED: "released_poison"},
    ),
    Choice(block="recover", by=("recovery", "audit.recovery"), nothing=NONE),
)
IGNORED = frozenset({"device", "threads", "data_root", "originals", "protected"})  # parameters that cannot change a result

PLACES = ("metadata", "path", "filepath", "credentials")  # of the entry raw_images: where its bytes are, not what they are
OWN_BYTES = ("FolderImages", "HuggingFaceImages")  # datasets whose makers publish no hash: that of their bytes is part of the recipe
FOLLOWED = (*OWN_BYTES, "OriginalFolder", "ProtectedFolder")  # datasets that read what links lead to
RELEASED_PLACES = (*PLACES, "memory_gib", "timeout_s")

KNOWN_AS = {"audit.train": "train"}  # an audit's further training by the recipe of the others is the plain one
TRAINED_BY = ("train", "probe.train", "audit.train")  # recipes of trainings
WEIGHTS = tuple(f"{recipe}.weights" for recipe in TRAINED_BY)
DIFFUSION = "recover.avatar.weights"
# Parameters that name a file or a folder: its bytes decide.
READ = ("probe.sample_indices", "craft.ar.processes", "craft.ar_linf.processes", *WEIGHTS, DIFFUSION)
# Not in recipes where the parameter beside them is null: recipes from before they were there stay.
UNSET = {f"{recipe}.{name}": f"{recipe}.{name}" for recipe in TRAINED_BY for name in ("weights", "freeze", "pretraining", "muon")}
UNSET |= {f"{recipe}.simclr": f"{recipe}.pretraining" for recipe in TRAINED_BY}

DERIVED = ("dataset",)  # what the loader adds to the parameters

SEEDS = range(2**32)
CELL_NAMES = ("poison", "recovery", "model", "seed")  # with the dataset


def code(found: Recipe) -> dict[str, str]:
    """Return the identity of each package that brings a poison, a recovery, a network or a source that a recipe names."""
    registered = settings()["packages"]
    named = {name for key in found for name in [key.partition(".")[2]] if key.partition(".")[0] in ("craft", "recover")}
    packages = {registered[name] for name in {*named, str(found.get("model"))} if name in registered}
    packages |= {package for part in found.values() if isinstance(part, dict) and (package := package_of_class(str(part.get("type"))))}
    others = {package: identity(package) for package in sorted(packages - {unlearnable.__name__})}
    return {unlearnable.__name__: unlearnable.__version__} | others


def names(found: Recipe, parts: dict[str, list[str]]) -> list[str]:
    """Return the readable names that stand before the hash in the path of a result: poison, recovery, model and seed.

    Args:
        found: the recipe.
        parts: what is chosen of each block of CHOICES.
    """
    poison = found.get("poison") or next(iter(parts["craft"]), "clean")
    recovery = found.get("recovery") or next(iter(parts["recover"]), None)
    seed = f"seed-{found['seed']}" if "seed" in found else None
    return [str(name) for name in (poison, recovery, found.get("model"), seed) if name]


def craft_seed(parameters: dict[str, Any]) -> int | None:
    """Return the seed of the poison: that of the block ``craft``, or the cell's; None for a released one, which nothing draws.

    Where the cell's is out of range, the check complains of that one alone.
    """
    own, seed = parameters["craft"].get("seed"), parameters.get("seed")
    if parameters.get("poison") == RELEASED:
        return None
    return own if own is not None else seed if type(seed) is int and seed in SEEDS else None
