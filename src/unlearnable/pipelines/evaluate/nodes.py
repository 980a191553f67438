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
    """Return one row an epoch of each training: training, epoch, what was measured, and what it was made on."""
    from unlearnable.pipelines.evaluate.scores import history_table

    last = {name: checkpoints[-1] for name, checkpoints in trainings.items()}
    return history_table({name: each.history for name, each in last.items()}, {name: each.made_on for name, each in last.items()})


def score(
    history: "pd.DataFrame", recovered: "LabelledImages", clean: "LabelledImages", poisoned: "LabelledImages", **cell: Any
) -> dict[str, Any]:
    """Return the scores of the cell."""
    from unlearnable.pipelines.evaluate.scores import scores

    return scores(history, recovered, clean, poisoned, cell)


def score_dfr(table: "pd.DataFrame", checkpoints: "Sequence[Checkpoint]", **cell: Any) -> dict[str, Any]:
    """Return the scores of deep feature reweighting."""
    from unlearnable.pipelines.evaluate.scores import dfr_scores

    last = checkpoints[-1]
    return dfr_scores(table, last.history, cell, last.made_on)


def score_separability(perturbations: dict[str, Any], clean: dict[str, Any], **cell: Any) -> dict[str, Any]:
    """Return the scores of the perturbations' separability, and of the clean images'."""
    from unlearnable.pipelines.evaluate.scores import separability_scores

    return separability_scores(perturbations, clean, cell)


def draw_accuracy(scores: dict[str, Any], history: "pd.DataFrame") -> "Figure":
    """Return the bar chart of last accuracies beside the accuracy epoch by epoch."""
    from unlearnable.reporting.cell import accuracy_figure

    return accuracy_figure(scores, history)


def draw_directions(clean: "LabelledImages", poisoned: "LabelledImages", linear_weights: "LinearWeights") -> "Figure":
    """Return the picture of each class's true perturbation above the direction that was learned."""
    from unlearnable.reporting.cell import directions_figure

    return directions_figure(clean, poisoned, linear_weights)


def draw_examples(clean: "LabelledImages", poisoned: "LabelledImages", recovered: "LabelledImages") -> "Figure":
    """Return the picture of one image a class: clean, poisoned, recovered."""
    from unlearnable.reporting.cell import examples_figure

    return examples_figure(clean, poisoned, recovered)


def draw_dfr(scores: dict[str, Any], table: "pd.DataFrame") -> "Figure":
    """Return the accuracy of each checkpoint's own head and of its new ones, epoch by epoch."""
    from unlearnable.reporting.cell import dfr_figure

    return dfr_figure(scores, table)


def draw_separability(scores: dict[str, Any], perturbations: dict[str, Any], clean: dict[str, Any]) -> "Figure":
    """Return the training accuracy of each model against the iterations of its fit."""
    from unlearnable.reporting.cell import separability_figure

    return separability_figure(scores["dataset"], {scores["poison"]: perturbations, "clean images": clean})
