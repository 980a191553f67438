"""Wiring of ``craft_poison``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.craft_poison.nodes import craft


def create_pipeline() -> Pipeline:
    """Return the pipeline clean_train -> poisoned_train."""
    inputs = ["clean_train", "params:poison", "params:craft", "params:device"]
    return Pipeline([Node(craft, inputs, "poisoned_train", name="craft_poison", tags="crafting")])
