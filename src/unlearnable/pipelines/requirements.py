"""What the nodes of a run ask of the data: known as soon as the clean images are there, so that none of it ends a run after hours."""

from collections.abc import Iterable
from typing import Any

from kedro.pipeline.node import Node

from unlearnable.images import LabelledImages
from unlearnable.models import require_takes
from unlearnable.poisons import POISONS
from unlearnable.poisons import require as require_poison
from unlearnable.probes import ReweightingRecipe, clean_samples
from unlearnable.recoveries import recovery_named
from unlearnable.training import recipe_from, require_batch

Parameters = dict[str, Any]
REWEIGHTING = "params:probe"  # what nodes that fit new heads are given


def require(nodes: Iterable[Node], clean: LabelledImages, parameters: Parameters) -> None:
    """Raise InputError where a node asks for more, or for other images than ``clean``."""
    for node in nodes:
        if "training" in node.tags:
            recipe = parameters["probe"]["train"] if "params:probe.train" in node.inputs else parameters["train"]
            require_batch(recipe_from(recipe), clean)
            require_takes(parameters["model"], clean.shape)
        for recovery in {"params:recovery", "params:audit.recovery"} & set(node.inputs):
            _require_recovery(recovery, clean, parameters)
        if "crafting" in node.tags and parameters["poison"] in POISONS:
            require_poison(parameters["poison"], clean, parameters["craft"].get(parameters["poison"]) or {})
        if REWEIGHTING in node.inputs:
            clean_samples(clean, ReweightingRecipe(**{name: value for name, value in parameters["probe"].items() if name != "train"}))


def _require_recovery(parameter: str, clean: LabelledImages, parameters: Parameters) -> None:
    name = parameters["audit"]["recovery"] if "audit" in parameter else parameters["recovery"]
    recovery_named(name, parameters["recover"].get(name) or {}).require(clean)
