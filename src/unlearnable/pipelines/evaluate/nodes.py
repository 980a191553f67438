"""Figures of what was measured. matplotlib is imported when the first is drawn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from unlearnable.images import LabelledImages
    from unlearnable.recoveries import LinearWeights


def draw_accuracy(scores: dict[str, Any], history: "pd.DataFrame") -> "Figure":
    """Return the bar chart of last accuracies beside the accuracy epoch by epoch."""
    from unlearnable.reporting.cell import accuracy_figure

    return accuracy_figure(scores, history)


def draw_directions(clean: "LabelledImages", poisoned: "LabelledImages", linear_weights: "LinearWeights", **cell: Any) -> "Figure":
    """Return the picture of each class's true perturbation above the direction that was learned."""
    from unlearnable.reporting.cell import directions_figure

    return directions_figure(clean, poisoned, linear_weights, cell)


def draw_examples(clean: "LabelledImages", poisoned: "LabelledImages", recovered: "LabelledImages", **cell: Any) -> "Figure":
    """Return the picture of one image a class: clean, poisoned, recovered."""
    from unlearnable.reporting.cell import examples_figure

    return examples_figure(clean, poisoned, recovered, cell)


def draw_dfr(scores: dict[str, Any], table: "pd.DataFrame") -> "Figure":
    """Return the accuracy of each checkpoint's own head and of its new ones, epoch by epoch."""
    from unlearnable.reporting.cell import dfr_figure

    return dfr_figure(scores, table)


def draw_separability(scores: dict[str, Any], perturbations: dict[str, Any], clean: dict[str, Any]) -> "Figure":
    """Return the training accuracy of each model against the iterations of its fit."""
    from unlearnable.reporting.cell import separability_figure

    cell = {name: scores[name] for name in ("dataset", "poison", "seed")}
    return separability_figure({scores["poison"]: perturbations, "clean images": clean}, cell)
