"""Which parameters decide the bytes of which artifact, and the hash that names them.

A recipe is every setting that decides a result, seeds included. Its hash stands in the path of the result, so a changed
parameter is never answered with an old result, and settings that cannot change the bytes (device, threads, paths) are
left out. The precision ``auto`` is kept as the word: who compares devices sets one of the others.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FORMAT = 5  # raise where the same parameters would give other bytes: a new recipe, or a new file format

Parameters = Mapping[str, Any]
PLACES = ("metadata", "path", "filepath", "credentials")  # of the entry raw_images: where its bytes lie, not what they are
OWN_BYTES = ("FolderImages", "HuggingFaceImages")  # datasets whose makers publish no hash: that of their bytes is part of the recipe
FOLLOWED = (*OWN_BYTES, "ProtectedFolder")  # datasets that read what links lead to

RELEASED = "released"  # the poison that is read from the entry released_poison, where the others are crafted
RELEASED_PLACES = (*PLACES, "memory_gib", "timeout_s")

READ = ("probe.sample_indices", "craft.ar.processes", "craft.ar_linf.processes")  # parameters that name a file: its bytes decide

DERIVED = ("dataset", "recipe")  # what the loader adds to the parameters

CELL = ("poison", "recovery", "model", "seed")  # with the dataset

# Each stage: the stages before it, and the parameters of its own.
STAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ingest": ((), ("raw_images", "ingest")),
    "craft_poison": (("ingest",), ("craft_seed", "poison", "craft")),
    "orthogonal_projection": (("craft_poison",), ("seed", "recovery", "recover")),
    "train_clean": (("ingest",), ("seed", "model", "train")),
    "train_poisoned": (("craft_poison",), ("seed", "model", "train")),
    "train_recovered": (("orthogonal_projection",), ("seed", "model", "train")),
    "train_probed": (("craft_poison",), ("seed", "model", "probed")),
    "probe_checkpoints": (("train_probed",), ("probe",)),
    "separability_clean": (("ingest",), ("separability",)),
    "separability_analysis": (("craft_poison",), ("separability",)),
    "evaluate": (("train_clean", "train_poisoned", "train_recovered"), ()),
    # Scores name their cell in full, also what their part of it does not depend on.
    "evaluate_dfr": (("probe_checkpoints",), CELL),
    "evaluate_separability": (("separability_clean", "separability_analysis"), CELL),
    "evaluate_audit": (("evaluate", "separability_clean", "separability_analysis"), (*CELL, "audit", "beside", "probe", "probed")),
}


def recipe(stage: str, parameters: Parameters, raw_images: Parameters) -> dict[str, Any]:
    """Return every setting that decides the bytes of ``stage``.

    Args:
        stage: one of STAGES.
        parameters: as the run sees them, command line included.
        raw_images: the catalog entry of the dataset, unresolved.
    """
    before, own = STAGES[stage]
    settings: dict[str, Any] = {}
    for earlier in before:
        settings |= recipe(earlier, parameters, raw_images)
    dataset = {name: value for name, value in raw_images.items() if name not in PLACES}
    known = {**parameters, **_chosen(parameters), **_probe(parameters), "raw_images": dataset}
    return settings | {name: known.get(name) for name in own}


def _chosen(parameters: Parameters) -> dict[str, Any]:
    """Return the settings of the poison and of the recovery that were chosen: those of the others decide nothing."""

    def chosen(block: str, name: str) -> Any:
        return _settings(parameters.get(block), str(parameters.get(name)))

    return {
        "craft": chosen("craft", "poison"),
        "recover": chosen("recover", "recovery"),
        "beside": _settings(parameters.get("recover"), _settings(parameters.get("audit"), "recovery")),
        "craft_seed": None if parameters.get("poison") == RELEASED else craft_seed(parameters.get("craft"), parameters.get("seed")),
    }


def _settings(block: Any, name: Any) -> Any:
    return block.get(name) if isinstance(block, dict) else block


def _probe(parameters: Parameters) -> dict[str, Any]:
    """Return the settings of the probe, and those of the training that it asks, each as a part of its own."""
    settings = parameters.get("probe")
    if not isinstance(settings, dict):
        return {"probe": settings}
    return {"probed": settings.get("train"), "probe": {name: value for name, value in settings.items() if name != "train"}}


def craft_seed(craft: Any, seed: Any) -> Any:
    """Return the seed of the poison: that of the block ``craft``, or the cell's where it is None."""
    own = craft.get("seed") if isinstance(craft, dict) else None
    return seed if own is None else own


def made_by(stage: str, parameters: Parameters) -> str:
    """Return the stage that makes what ``stage`` makes: where nothing is recovered, or nothing poisoned, two trainings are one."""
    if stage == "train_recovered" and parameters.get("recovery") == "none":
        stage = "train_poisoned"
    return "train_clean" if stage == "train_poisoned" and parameters.get("poison") == "none" else stage


def recipe_hash(stage: str, parameters: Parameters, raw_images: Parameters) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of the recipe of ``stage``."""
    stage = made_by(stage, parameters)
    content = {"format": FORMAT, "stage": stage, "recipe": recipe(stage, parameters, raw_images)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]
