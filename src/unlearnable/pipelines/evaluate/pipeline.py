"""Wiring of ``evaluate``: a part for each chain. A node's tag names the scores that its file belongs to."""

from kedro.pipeline import Node, Pipeline

from unlearnable.config.recipe import CELL_NAMES
from unlearnable.pipelines.evaluate.nodes import draw_accuracy, draw_dfr, draw_directions, draw_examples, draw_separability
from unlearnable.pipelines.evaluate.scores import score, score_dfr, score_separability, tabulate

NAMESPACE = "evaluation"
CELL = {name: f"params:{name}" for name in ("dataset", *CELL_NAMES)}
TRAININGS = {name: f"{name}_checkpoints" for name in ("clean", "poisoned", "recovered")}
SETS = {"clean": "clean_train", "poisoned": "poisoned_train"}
SEPARABILITY = {"perturbations": "perturbation_separability", "clean": "clean_separability"}

HISTORY = Node(tabulate, TRAININGS, "history", name="tabulate_history", namespace="trainings", tags="scores")
SCORES = Node(
    score, {"history": "history", "recovered": "recovered_train"} | SETS | CELL, "scores", name="gather_scores", namespace=NAMESPACE
)
ACCURACY = Node(draw_accuracy, ["scores", "history"], "accuracy_figure", name="draw_accuracy", namespace=NAMESPACE, tags="scores")
EXAMPLES = Node(
    draw_examples,
    SETS | {"recovered": "recovered_train"} | CELL,
    "examples_figure",
    name="draw_examples",
    namespace=NAMESPACE,
    tags="scores",
)
DIRECTIONS = Node(
    draw_directions,
    SETS | {"linear_weights": "linear_weights"} | CELL,
    "directions_figure",
    name="draw_directions",
    namespace="orthogonal_projection",
    tags="scores",
)
DFR = Node(
    score_dfr,
    {"table": "dfr_table", "checkpoints": "probed_checkpoints"} | CELL,
    "dfr_scores",
    name="gather_dfr_scores",
    namespace=NAMESPACE,
)
DFR_FIGURE = Node(draw_dfr, ["dfr_scores", "dfr_table"], "dfr_figure", name="draw_dfr", namespace=NAMESPACE, tags="dfr_scores")
SEPARABLE = Node(score_separability, SEPARABILITY | CELL, "separability_scores", name="gather_separability_scores", namespace=NAMESPACE)
SEPARABILITY_FIGURE = Node(
    draw_separability,
    SEPARABILITY | {"scores": "separability_scores"},
    "separability_figure",
    name="draw_separability",
    namespace=NAMESPACE,
    tags="separability_scores",
)
RECOVER = [HISTORY, SCORES, ACCURACY, EXAMPLES]
PARTS = {
    "recover": RECOVER,
    "orthoproj": [*RECOVER, DIRECTIONS],
    "dfr": [DFR, DFR_FIGURE],
    "separability": [SEPARABLE, SEPARABILITY_FIGURE],
}


def create_pipeline(*chains: str) -> Pipeline:
    """Return the pipeline that makes scores, tables and figures of these chains, or of all."""
    return sum((Pipeline(PARTS[chain]) for chain in chains or PARTS), Pipeline([]))
