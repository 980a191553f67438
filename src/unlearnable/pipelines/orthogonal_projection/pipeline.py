"""Wiring of ``orthogonal_projection``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.orthogonal_projection.nodes import recover


def create_pipeline() -> Pipeline:
    """Return the pipeline poisoned_train -> linear_weights, recovered_train."""
    inputs = ["poisoned_train", "params:recovery", "params:recover", "params:seed", "params:device"]
    return Pipeline([Node(recover, inputs, ["linear_weights", "recovered_train"], name="orthogonal_projection")])
