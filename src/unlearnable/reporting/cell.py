"""Figures of a cell."""

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter

from unlearnable.artifacts.sheet import mosaic, seen
from unlearnable.images import LabelledImages
from unlearnable.metrics import mean_perturbations
from unlearnable.recoveries import LinearWeights
from unlearnable.reporting.charts import colours_of, curves_of_heads
from unlearnable.reporting.style import CLEAN, COLOURS, POISONED, RECOVERED, epochs, percent
from unlearnable.reporting.tables import curves

OF_SUBJECTS, LINES = (POISONED, *COLOURS), ("-", "-.", ":")
OF_TRAINING = {"clean": CLEAN, "poisoned": POISONED, "recovered": RECOVERED}
MOST_CLASSES = 10  # columns of a picture at most
ROOM = 1.1  # the top of an axis, which leaves room for the number above a bar
LONGEST = 11  # letters of the name of a class at most
WIDEST, THINNER = 3.2, 0.9  # line widths: each curve is thinner than the one before, so curves that coincide are all seen
PER_INCH = 12.5  # letters of a title that fit
MARGIN = 0.12  # inches beside a picture, or a long name would lose part of its first letter


def accuracy_figure(scores: dict[str, Any], history: pd.DataFrame) -> Figure:
    """Return bars of the last epoch's accuracy (a tick at the peak) beside the curves over epochs."""
    figure = Figure(figsize=(5.6, 3.7), layout="constrained")  # narrow, so that a phone shows it at a size that can be read
    bars, lines = figure.subplots(1, 2, width_ratios=(1, 1.2))
    for place, (name, accuracy) in enumerate(scores["accuracy"].items()):
        bar = bars.bar(name, accuracy["last"], color=OF_TRAINING[name])
        bars.hlines(accuracy["peak"], *_sides(bar), color="black", linewidth=1)
        top = max(accuracy["last"], accuracy["peak"])
        bars.annotate(f"{accuracy['last']:.1%}", (place, top), xytext=(0, 3), textcoords="offset points", ha="center")
        rows = history[history["training"] == name]
        width = WIDEST - place * THINNER
        dots = {"marker": "o", "markersize": 2 + width}
        lines.plot(rows["epoch"], rows["test_accuracy"], color=OF_TRAINING[name], linewidth=width, label=name, **dots)
    percent(bars, "last epoch (line: peak)", ROOM)
    percent(lines, "every epoch", ROOM)
    epochs(lines)
    figure.legend(frameon=False, loc="outside lower center", ncols=len(OF_TRAINING))
    bars.tick_params(axis="x", labelsize=8)
    bars.set_xlabel("trained on")
    _entitle(figure, "Accuracy on the clean test set", scores)
    return figure


def _entitle(figure: Figure, what: str, cell: dict[str, Any]) -> None:
    """Write a title: what the figure shows, and the names of its cell, on further lines if they are too long."""
    named = [f"{name} {cell[name]}" for name in ("poison", "recovery") if name in cell]
    words = ", ".join([cell["dataset"], *named, *([cell["model"]] if "model" in cell else []), f"seed {cell['seed']}"])
    room = int(PER_INCH * figure.get_figwidth())
    title = f"{what}: {words}"
    if len(title) > room:
        title = "\n".join([f"{what}:", *textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False)])
    figure.suptitle(title, fontsize=10, parse_math=False)


def _sides(bar: Any) -> tuple[float, float]:
    patch = bar.patches[0]
    return patch.get_x(), patch.get_x() + patch.get_width()


def dfr_figure(scores: dict[str, Any], table: pd.DataFrame) -> Figure:
    """Return accuracy against epoch of each checkpoint's own head, of its new ones, and of those on the untrained network.

    If heads were fitted to several numbers of clean samples, the curves are for the largest, and a second panel shows the accuracy at
    the last epoch against that number.
    """
    counts = sorted(table["clean_samples"].unique())
    figure = Figure(figsize=(11 if len(counts) > 1 else 8, 3.6), layout="constrained")
    of_epochs, *others = figure.subplots(1, min(2, len(counts)), squeeze=False)[0]
    names = {name: scores[name] for name in ("dataset", "poison", "model", "seed")}
    found = curves(table[table["clean_samples"] == counts[-1]].assign(**names, override=""))
    curves_of_heads(of_epochs, found, colours_of(found), "every epoch")
    for axes in others:
        _against_samples(axes, table)
    figure.legend(*of_epochs.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    _entitle(figure, "Accuracy of new heads", {name: value for name, value in names.items() if name in scores})
    return figure


def _against_samples(axes: Axes, table: pd.DataFrame) -> None:
    last = table[table["epoch"] == table["epoch"].max()]
    for (name, rows), colour in zip(last.groupby("estimator", sort=False), COLOURS, strict=False):
        axes.plot(rows["clean_samples"], rows["test_accuracy"], color=colour, marker="o", markersize=4, label=f"new head, {name}")
    percent(axes, "last epoch")
    axes.set_xscale("log")
    axes.set_xticks(sorted(last["clean_samples"].unique()))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("clean samples")


def separability_figure(subjects: dict[str, dict[str, Any]], cell: dict[str, Any]) -> Figure:
    """Return training accuracy against iterations of each subject's fits, a panel for each model; a dot marks a fit that ended by itself.

    Args:
        subjects: what ``probes.separability`` found for each poison's perturbations and for the clean images.
        cell: its dataset and seed, and its poison if there is only one.
    """
    models = list(next(iter(subjects.values()))["models"])
    figure = Figure(figsize=(1 + 2.7 * len(models), 3.8), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0], models, strict=True):
        for place, (name, found) in enumerate(subjects.items()):
            fit = found["models"][model]
            style = {"color": "black", "linestyle": "--"} if name == "clean images" else _style(place)
            steps = range(1, len(fit["curve"]) + 1)
            axes.plot(steps, fit["curve"], linewidth=max(1.0, WIDEST - place * THINNER), label=name, **style)
            if fit["ended"] != "step limit" and fit["curve"]:
                axes.plot(len(fit["curve"]), fit["curve"][-1], marker="o", markersize=4, color=style["color"])
        percent(axes, model.replace("_", " "))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("iterations")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    _entitle(figure, "Training accuracy on perturbations (a dot: separated or converged)", cell)
    return figure


def _style(place: int) -> dict[str, str]:
    """Return the colour and the line style of a curve; when the colours start again, the style changes."""
    return {"color": OF_SUBJECTS[place % len(OF_SUBJECTS)], "linestyle": LINES[place // len(OF_SUBJECTS) % len(LINES)]}


def directions_figure(clean: LabelledImages, poisoned: LabelledImages, linear: LinearWeights, cell: dict[str, Any]) -> Figure:
    """Return for each class its mean perturbation and, below it, the weights that the linear model learned."""
    classes = min(clean.num_classes, MOST_CLASSES)
    rows = {
        "mean\nperturbation": _signed(mean_perturbations(clean, poisoned)[:classes]),
        "linear\nweights": _signed(linear.weights[0, :classes].reshape(classes, *clean.shape)),
    }
    return _grid(rows, _heads(clean, range(classes)), "True perturbation and learned direction of each class", cell)


def examples_figure(clean: LabelledImages, poisoned: LabelledImages, recovered: LabelledImages, cell: dict[str, Any]) -> Figure:
    """Return one image of each class: clean, poisoned, their difference, and recovered (clipped to [0, 1] for display)."""
    clean = clean.matching(poisoned)
    classes = np.unique(clean.labels)[:MOST_CLASSES].tolist()
    first = np.array([np.flatnonzero(clean.labels == label)[0] for label in classes])
    rows = {name: seen(images.subset(first)) for name, images in {"clean": clean, "poisoned": poisoned}.items()}
    rows["difference"] = _signed(poisoned.images[first].astype(np.float32) - clean.images[first])
    return _grid(rows | {"recovered": seen(recovered.subset(first))}, _heads(clean, classes), "One image of each class", cell)


def compared_figure(original: LabelledImages, protected: LabelledImages, recovered: LabelledImages, cell: dict[str, Any]) -> Figure:
    """Return a row for each class: an original image, its protected copy, their difference, and the recovered image clipped to [0, 1]."""
    original = original.matching(protected)
    classes = np.unique(original.labels)[:MOST_CLASSES].tolist()
    first = np.array([np.flatnonzero(original.labels == label)[0] for label in classes])
    columns = [seen(images.subset(first)) for images in (original, protected, recovered)]
    columns.insert(2, _signed(protected.images[first].astype(np.float32) - original.images[first]))
    rows = dict(zip(_heads(original, classes), np.stack(columns, axis=1), strict=True))
    return _grid(rows, ["original", "protected", "difference", "recovered"], "An image of each class", cell, narrow=True)


def _heads(images: LabelledImages, labels: Iterable[int]) -> list[str]:
    """Return the heading of each class: its name, shortened to fit, or its number."""
    names = [images.class_names[label] if images.class_names else f"class {label}" for label in labels]
    return [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]


def _signed(images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return images (N, H, W, C) of (N, C, H, W), each scaled so that zero is grey and its largest magnitude is black or white."""
    largest = np.abs(images).max(axis=(1, 2, 3), keepdims=True)
    scaled = 0.5 + images.astype(np.float64) / np.where(largest > 0, largest, 1) / 2
    return (scaled * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def _grid(rows: dict[str, npt.NDArray[np.uint8]], heads: list[str], title: str, cell: dict[str, Any], *, narrow: bool = False) -> Figure:
    """Return rows of images below one another, with a heading above each column.

    They are one picture in one axes, because each axes takes matplotlib twenty milliseconds.
    """
    columns, height, width, channels = next(iter(rows.values())).shape
    gap = max(1, width // 10)
    size = max(4.6 if narrow else 7.0, 1.2 + 0.95 * columns), 0.5 + 1.05 * len(rows)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=MARGIN))
    axes = figure.subplots()
    axes.imshow(mosaic(list(rows.values()), gap).repeat(3 // channels, axis=2), interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(columns) * (width + gap) + width / 2, heads, fontsize=8, parse_math=False)
    axes.set_yticks(np.arange(len(rows)) * (height + gap) + height / 2, list(rows), fontsize=9)
    _entitle(figure, title, {name: cell[name] for name in ("dataset", "seed")} if narrow else cell)
    return figure
