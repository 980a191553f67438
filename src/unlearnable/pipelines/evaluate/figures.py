"""Figures of a cell."""

from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unlearnable.images import LabelledImages
from unlearnable.metrics import mean_perturbations
from unlearnable.recoveries import LinearWeights
from unlearnable.training.device import as_float, resident

matplotlib.use("Agg")
COLOURS = {"clean": "#4477aa", "poisoned": "#cc6677", "recovered": "#228833"}  # told apart by colour-blind readers too
CPU = torch.device("cpu")
MOST_CLASSES = 10  # columns of a picture


def accuracy_figure(scores: dict[str, Any], history: pd.DataFrame) -> Figure:
    """Return bars of the last epoch's accuracy (a tick at the peak) beside the curves over epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    bars, curves = figure.subplots(1, 2, width_ratios=(1, 1.5))
    for name, accuracy in scores["accuracy"].items():
        bar = bars.bar(name, accuracy["last"], color=COLOURS[name])
        bars.bar_label(bar, [f"{accuracy['last']:.1%}"], padding=6)
        bars.hlines(accuracy["peak"], *_sides(bar), color="black", linewidth=1)
        rows = history[history["training"] == name]
        curves.plot(rows["epoch"], rows["test_accuracy"], color=COLOURS[name], marker="o", markersize=3, label=name)
    _percent(bars, "last epoch (line: peak)")
    _percent(curves, "every epoch")
    curves.set_xlabel("epoch")
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.legend(title="trained on", frameon=False)
    bars.set_xlabel("trained on")
    figure.suptitle(
        f"Accuracy on the clean test set: {scores['dataset']}, {scores['model']}, poison {scores['poison']}, seed {scores['seed']}"
    )
    return figure


def _sides(bar: Any) -> tuple[float, float]:
    patch = bar.patches[0]
    return patch.get_x(), patch.get_x() + patch.get_width()


def _percent(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_ylim(0, 1.1)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)


def directions_figure(clean: LabelledImages, poisoned: LabelledImages, linear: LinearWeights) -> Figure:
    """Return, for each class, its mean perturbation and, below, the weights that the linear model learned for it."""
    classes = range(min(clean.num_classes, MOST_CLASSES))
    rows = {"mean\nperturbation": list(mean_perturbations(clean, poisoned)[: len(classes)])}
    if len(linear.weights):
        rows["linear\nweights"] = [linear.weights[c].reshape(clean.shape) for c in classes]
    return _grid(
        {title: [_signed(image) for image in row] for title, row in rows.items()}, "True perturbation and learned direction of each class"
    )


def examples_figure(clean: LabelledImages, poisoned: LabelledImages, recovered: LabelledImages) -> Figure:
    """Return one image of each class: clean, poisoned, their difference, and recovered (clipped to [0, 1] to be seen)."""
    clean = clean.matching(poisoned)
    first = np.array([np.flatnonzero(clean.labels == c)[0] for c in np.unique(clean.labels)[:MOST_CLASSES]])
    difference = poisoned.images[first].astype(np.float32) - clean.images[first]
    rows = {
        "clean": list(clean.images[first] / 255),
        "poisoned": list(poisoned.images[first] / 255),
        "difference": [_signed(image) for image in difference],
        "recovered": list(as_float(resident(recovered.subset(first), CPU)).clamp(0, 1).numpy()),
    }
    return _grid(rows, "One image of each class")


def _signed(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an image scaled so that zero is grey and its largest magnitude is black or white."""
    largest = float(np.abs(image).max()) or 1.0
    return 0.5 + image.astype(np.float64) / largest / 2


def _grid(rows: dict[str, list[npt.NDArray[Any]]], title: str) -> Figure:
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(1.2 + 0.95 * columns, 0.5 + 1.05 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for column, axes in enumerate(grid[0]):
        axes.set_title(f"class {column}", fontsize=8)
    for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure
