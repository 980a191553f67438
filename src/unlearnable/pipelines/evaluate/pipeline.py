"""Wiring of ``evaluate``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.evaluate.nodes import draw_accuracy, draw_directions, draw_examples, score, tabulate

TRAININGS = {name: f"{name}_checkpoints" for name in ("clean", "poisoned", "recovered")}


def create_pipeline() -> Pipeline:
    """Return the pipeline checkpoints, linear_weights, image sets -> scores, history and figures."""
    return Pipeline(
        [
            Node(tabulate, TRAININGS, "history", name="tabulate_history"),
            Node(score, ["history", "linear_weights", "clean_train", "poisoned_train", "parameters"], "scores", name="gather_scores"),
            Node(draw_accuracy, ["scores", "history"], "accuracy_figure", name="draw_accuracy"),
            Node(draw_directions, ["clean_train", "poisoned_train", "linear_weights"], "directions_figure", name="draw_directions"),
            Node(draw_examples, ["clean_train", "poisoned_train", "recovered_train"], "examples_figure", name="draw_examples"),
        ]
    )
