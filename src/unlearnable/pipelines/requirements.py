"""What the nodes of a run need of the data. It is checked as soon as the clean images are there, not after hours of work."""

from collections.abc import Iterable
from typing import Any

from kedro.pipeline.node import Node

from unlearnable.config.graph import found_at
from unlearnable.config.recipe import TRAINED_BY
from unlearnable.images import LabelledImages
from unlearnable.models import require_takes
from unlearnable.parts import MIXTURE, protected_parts
from unlearnable.poisons import POISONS
from unlearnable.poisons import require as require_poison
from unlearnable.probes import ReweightingRecipe, fitted_and_held_out
from unlearnable.recoveries import recovery_named
from unlearnable.training import recipe_from, require_batch, require_deviations

Parameters = dict[str, Any]


def require(nodes: Iterable[Node], clean: LabelledImages, parameters: Parameters) -> None:
    """Raise InputError if a node needs more images than ``clean`` has, or others: its inputs say what it needs."""
    inputs = {name for node in nodes for name in node.inputs}
    for name in [name for name in TRAINED_BY if f"params:{name}" in inputs]:
        training = recipe_from(found_at(parameters, name))
        require_batch(training, clean)
        require_deviations(training, clean)
        require_takes(parameters["model"], clean.shape, weights=training.weights, freeze=training.freeze, muon=training.muon, setting=name)
    recoveries = {"params:recovery": parameters["recovery"], "params:audit.recovery": parameters["audit"]["recovery"]}
    recoveries["params:recover.orthogonal_projection"] = "orthogonal_projection"
    for recovery in [recovery for name, recovery in recoveries.items() if name in inputs]:
        recovery_named(recovery, parameters["recover"].get(recovery) or {}).require(clean)
    if "params:craft" in inputs and (poison := parameters["poison"]) in (MIXTURE, *POISONS):
        for name in protected_parts(clean, poison, parameters["craft"]):
            require_poison(name, clean, parameters["craft"].get(name) or {})
    if "params:probe" in inputs:
        recipe = {name: value for name, value in parameters["probe"].items() if name != "train"}
        fitted_and_held_out(clean.without_pixels(), ReweightingRecipe(**recipe))
