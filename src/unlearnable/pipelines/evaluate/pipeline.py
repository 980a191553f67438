"""Wiring of ``evaluate``: a part for each chain."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.evaluate.nodes import (
    draw_accuracy,
    draw_dfr,
    draw_directions,
    draw_examples,
    draw_separability,
    score,
    score_dfr,
    score_separability,
    tabulate,
)

TRAININGS = {name: f"{name}_checkpoints" for name in ("clean", "poisoned", "recovered")}
EXAMPLES = Node(draw_examples, ["clean_train", "poisoned_train", "recovered_train"], "examples_figure", name="draw_examples")
RECOVER = [
    Node(tabulate, TRAININGS, "history", name="tabulate_history"),
    Node(score, ["history", "linear_weights", "clean_train", "poisoned_train", "parameters"], "scores", name="gather_scores"),
    Node(draw_accuracy, ["scores", "history"], "accuracy_figure", name="draw_accuracy"),
    EXAMPLES,
]
DIRECTIONS = Node(draw_directions, ["clean_train", "poisoned_train", "linear_weights"], "directions_figure", name="draw_directions")
PARTS = {
    "recover": RECOVER,
    "orthoproj": [*RECOVER, DIRECTIONS],
    "examples": [EXAMPLES],
    "dfr": [
        Node(score_dfr, ["dfr_table", "probed_checkpoints", "parameters"], "dfr_scores", name="gather_dfr_scores"),
        Node(draw_dfr, ["dfr_scores", "dfr_table"], "dfr_figure", name="draw_dfr"),
    ],
    "separability": [
        Node(
            score_separability,
            ["perturbation_separability", "clean_separability", "parameters"],
            "separability_scores",
            name="gather_separability_scores",
        ),
        Node(
            draw_separability,
            ["separability_scores", "perturbation_separability", "clean_separability"],
            "separability_figure",
            name="draw_separability",
        ),
    ],
}


def create_pipeline(*chains: str) -> Pipeline:
    """Return the pipeline that makes scores, tables and figures of these chains, or of all."""
    return sum((Pipeline(PARTS[chain]) for chain in chains or PARTS), Pipeline([]))
