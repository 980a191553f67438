"""Gather what was measured into scores, a table and figures; no model is touched here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from unlearnable.images import LabelledImages
    from unlearnable.recoveries import LinearWeights
    from unlearnable.training import Checkpoint


def tabulate(**trainings: "Sequence[Checkpoint]") -> "pd.DataFrame":
    """Return one row an epoch of each training: training, epoch and what was measured."""
    from unlearnable.pipelines.evaluate.scores import history_table

    return history_table({name: checkpoints[-1].history for name, checkpoints in trainings.items()})


def score(
    history: "pd.DataFrame",
    linear_weights: "LinearWeights",
    clean: "LabelledImages",
    poisoned: "LabelledImages",
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Return the scores of the cell."""
    from unlearnable.pipelines.evaluate.scores import scores

    return scores(history, linear_weights, clean, poisoned, parameters)


def draw_accuracy(scores: dict[str, Any], history: "pd.DataFrame") -> "Figure":
    """Return the bar chart of last accuracies beside the accuracy epoch by epoch."""
    from unlearnable.pipelines.evaluate.figures import accuracy_figure

    return accuracy_figure(scores, history)


def draw_directions(clean: "LabelledImages", poisoned: "LabelledImages", linear_weights: "LinearWeights") -> "Figure":
    """Return the picture of each class's true perturbation above the direction that was learned."""
    from unlearnable.pipelines.evaluate.figures import directions_figure

    return directions_figure(clean, poisoned, linear_weights)


def draw_examples(clean: "LabelledImages", poisoned: "LabelledImages", recovered: "LabelledImages") -> "Figure":
    """Return the picture of one image a class: clean, poisoned, recovered."""
    from unlearnable.pipelines.evaluate.figures import examples_figure

    return examples_figure(clean, poisoned, recovered)
