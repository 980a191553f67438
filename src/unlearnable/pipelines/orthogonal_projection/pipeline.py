"""Wiring of ``orthogonal_projection``: Algorithm 1 of the paper."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.orthogonal_projection.nodes import find_directions, fit_linear_model, project

NAMESPACE = "orthogonal_projection"
SETTINGS = "params:recover.orthogonal_projection"


def create_pipeline() -> Pipeline:
    """Return the pipeline poisoned_train -> linear_weights -> removed_directions -> recovered_train."""
    fitted = ["poisoned_train", SETTINGS, "params:seed", "params:device"]
    return Pipeline(
        [
            Node(fit_linear_model, fitted, "linear_weights", name="fit_linear_model", namespace=NAMESPACE),
            Node(find_directions, ["linear_weights", SETTINGS], "removed_directions", name="find_directions", namespace=NAMESPACE),
            Node(project, ["poisoned_train", "removed_directions"], "recovered_train", name="project", namespace=NAMESPACE),
        ]
    )
