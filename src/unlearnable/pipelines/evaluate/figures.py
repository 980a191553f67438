"""Figures of a cell."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from unlearnable.images import LabelledImages
from unlearnable.metrics import mean_perturbations
from unlearnable.pipelines.drawing import Figure
from unlearnable.recoveries import LinearWeights
from unlearnable.training.pixels import as_float, resident

COLOURS = {"clean": "#4477aa", "poisoned": "#cc6677", "recovered": "#228833"}  # told apart by colour-blind readers too
HEADS = ("#228833", "#4477aa", "#aa8833")
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
    figure.suptitle(_title(scores))
    return figure


def _title(scores: dict[str, Any]) -> str:
    return f"Accuracy on the clean test set: {scores['dataset']}, {scores['model']}, poison {scores['poison']}, seed {scores['seed']}"


def _sides(bar: Any) -> tuple[float, float]:
    patch = bar.patches[0]
    return patch.get_x(), patch.get_x() + patch.get_width()


def _percent(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_ylim(0, 1.1)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)


def dfr_figure(scores: dict[str, Any], table: pd.DataFrame) -> Figure:
    """Return accuracy against epoch of each checkpoint's own head, of its new ones, and of those on the untrained network.

    Where heads were fitted to several numbers of clean samples, the curves are of the largest, and beside them stands the accuracy
    at the last epoch against that number.
    """
    counts = sorted(table["clean_samples"].unique())
    figure = Figure(figsize=(9 if len(counts) > 1 else 6, 3.6), layout="constrained")
    epochs, *others = figure.subplots(1, min(2, len(counts)), squeeze=False)[0]
    plain = table.drop_duplicates("epoch")
    epochs.plot(plain["epoch"], plain["plain_accuracy"], color=COLOURS["poisoned"], marker="o", markersize=3, label="own head")
    for (name, rows), colour in zip(table[table["clean_samples"] == counts[-1]].groupby("estimator", sort=False), HEADS, strict=False):
        trained = rows[rows["epoch"] > 0]
        epochs.plot(trained["epoch"], trained["test_accuracy"], color=colour, marker="o", markersize=3, label=f"new head, {name}")
        control = float(rows.loc[rows["epoch"] == 0, "test_accuracy"].iloc[0])
        epochs.axhline(control, color=colour, linestyle="--", linewidth=1, label=f"untrained network, {name}")
    _percent(epochs, f"every epoch, {counts[-1]:,} clean samples")
    epochs.set_xlabel("epoch")
    epochs.xaxis.get_major_locator().set_params(integer=True)
    epochs.legend(frameon=False, fontsize=8, loc="best")
    for axes in others:
        _against_samples(axes, table)
    figure.suptitle(_title(scores))
    return figure


def _against_samples(axes: Axes, table: pd.DataFrame) -> None:
    last = table[table["epoch"] == table["epoch"].max()]
    for (name, rows), colour in zip(last.groupby("estimator", sort=False), HEADS, strict=False):
        axes.plot(rows["clean_samples"], rows["test_accuracy"], color=colour, marker="o", markersize=4, label=f"new head, {name}")
    _percent(axes, "last epoch")
    axes.set_xscale("log")
    axes.set_xticks(sorted(last["clean_samples"].unique()))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("clean samples")


def separability_figure(dataset: str, subjects: dict[str, dict[str, Any]]) -> Figure:
    """Return training accuracy against iterations of each subject's fits, a panel a model; a dot ends a fit that ended by itself.

    Args:
        dataset: its name.
        subjects: what ``probes.separability`` found of each poison's perturbations, and of the clean images.
    """
    models = list(next(iter(subjects.values()))["models"])
    figure = Figure(figsize=(1 + 2.7 * len(models), 3.8), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0], models, strict=True):
        for place, (name, found) in enumerate(subjects.items()):
            fit = found["models"][model]
            style = {"color": "black", "linestyle": "--"} if name == "clean images" else {"color": f"C{place % 10}"}
            steps = range(1, len(fit["curve"]) + 1)
            axes.plot(steps, fit["curve"], linewidth=1.5, label=name, **style)
            if fit["ended"] != "step limit" and fit["curve"]:
                axes.plot(len(fit["curve"]), fit["curve"][-1], marker="o", markersize=4, color=style["color"])
        _percent(axes, model.replace("_", " "))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("iterations")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(f"Training accuracy on perturbations, {dataset} (a dot: separated or converged)", fontsize=11)
    return figure


def directions_figure(clean: LabelledImages, poisoned: LabelledImages, linear: LinearWeights) -> Figure:
    """Return, for each class, its mean perturbation and, below, the weights that the linear model learned for it."""
    classes = range(min(clean.num_classes, MOST_CLASSES))
    rows = {
        "mean\nperturbation": list(mean_perturbations(clean, poisoned)[: len(classes)]),
        "linear\nweights": [linear.weights[0, c].reshape(clean.shape) for c in classes],
    }
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
        "recovered": list(as_float(resident(recovered.subset(first), CPU).cpu()).clamp(0, 1).numpy()),
    }
    return _grid(rows, "One image of each class")


def _signed(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an image scaled so that zero is grey and its largest magnitude is black or white."""
    largest = float(np.abs(image).max()) or 1.0
    return 0.5 + image.astype(np.float64) / largest / 2


def _grid(rows: dict[str, list[npt.NDArray[Any]]], title: str) -> Figure:
    """Return rows of images under one another. They are one picture in one axes: matplotlib takes twenty milliseconds for each axes."""
    columns = max(len(row) for row in rows.values())
    _, height, width = next(iter(rows.values()))[0].shape
    gap = max(1, width // 10)
    mosaic = np.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for top, images in zip(range(0, len(mosaic), height + gap), rows.values(), strict=True):
        for column, image in enumerate(images):
            left = column * (width + gap)
            mosaic[top : top + height, left : left + width] = (image.transpose(1, 2, 0) * 255).round()
    figure = Figure(figsize=(1.2 + 0.95 * columns, 0.5 + 1.05 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mosaic, interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(columns) * (width + gap) + width / 2, [f"class {column}" for column in range(columns)], fontsize=8)
    axes.set_yticks(np.arange(len(rows)) * (height + gap) + height / 2, list(rows), fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure
