"""Wiring of ``learnability``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.config.recipe import CELL_NAMES
from unlearnable.pipelines.learnability.nodes import certify, score

NAMESPACE = "learnability"
CELL = {name: f"params:{name}" for name in ("dataset", *CELL_NAMES)}
CERTIFIED = ["poisoned_checkpoints", "clean_train", "clean_test"]
PARAMETERS = [f"params:{name}" for name in ("model", "train", "learnability", "seed", "device")]
SCORED = {"found": "learnability", "checkpoints": "poisoned_checkpoints"} | CELL


def create_pipeline() -> Pipeline:
    """Return the pipeline poisoned_checkpoints, clean images -> learnability, learnability_scores."""
    return Pipeline(
        [
            Node(certify, [*CERTIFIED, *PARAMETERS], "learnability", name="certify_learnability", namespace=NAMESPACE),
            Node(score, SCORED, "learnability_scores", name="gather_learnability_scores", namespace="evaluation"),
        ]
    )
