"""Accuracy epoch by epoch, and by a number that a study changes; a panel a poison."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unlearnable.reporting.style import CLEAN, COLOURS, POISONED, alike, percent, saved
from unlearnable.reporting.style import epochs as epochs_axis
from unlearnable.reporting.tables import CONTROL, ordered

COLUMNS = 4
DASHES = ("-", "--", ":")  # of lines whose colours come again
CROWDED = 0.93  # separability from which on names of points do not fit beside them
WIDE = 20  # the largest number over the smallest, from which on an axis is logarithmic


def epochs_figure(epochs: pd.DataFrame) -> bytes:
    """Return an SVG: mean test accuracy after each epoch, a panel a poison and a line a recovery."""
    poisons, recoveries = ordered(epochs["poison"]), ordered(epochs["recovery"])
    looks = dict(zip([name for name in recoveries if name != CONTROL], product(DASHES, COLOURS), strict=False)) | {CONTROL: ("-", POISONED)}
    with alike():
        figure = Figure(layout="constrained")
        panels = _panels(figure, poisons, room=0.9)
        for poison, axes in panels.items():
            of_poison = epochs[epochs["poison"] == poison]
            for name in recoveries:
                means = of_poison[of_poison["recovery"] == name].groupby("epoch")["test_accuracy"].mean()
                dash, colour = looks[name]
                style: dict[str, Any] = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 3, "linewidth": 1.4}
                axes.plot(means.index, means, label=name.replace("_", " "), **style)
            epochs_axis(axes)
            axes.set_xlabel("")
        _legend(figure, panels[poisons[0]], "recovery")
        figure.supxlabel("epoch", fontsize=9)
        return saved(figure, "svg")


def _panels(figure: Figure, poisons: Sequence[str], *, room: float) -> dict[str, Axes]:
    """Return a panel for each poison in a figure that is sized for them, with ``room`` inches for what is not a panel."""
    lines = -(-len(poisons) // COLUMNS)
    columns = -(-len(poisons) // lines)  # as many in each line as in the others, or one more
    figure.set_size_inches(max(4.5, 2.4 * columns), 2.3 * lines + room)
    grid = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    for place, axes in enumerate(grid):
        axes.set_visible(place < len(poisons))
        axes.tick_params(labelbottom=place + columns >= len(poisons))  # below some of the last ones is no panel
    for poison, axes in zip(poisons, grid, strict=False):
        percent(axes, f"poison {poison}")
    figure.supylabel("accuracy on the clean test set", fontsize=9)
    return dict(zip(poisons, grid, strict=False))


def _legend(figure: Figure, axes: Axes, title: str) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=min(4, len(labels)), frameon=False)


def _marked(axes: Axes, values: Sequence[float]) -> None:
    """Mark these values on the axis, which is logarithmic where they lie far apart."""
    axes.set_xscale("log" if max(values) / min(values) > WIDE else "linear")
    axes.set_xticks(values, [f"{value / 1000:g}k" if value >= 1000 else f"{value:g}" for value in values], fontsize=7)
    axes.minorticks_off()


def curve_figure(cells: pd.DataFrame, counted: str, points: Mapping[str, float]) -> bytes:
    """Return an SVG: mean accuracy by a number, with a band of one deviation over seeds, and a line for no recovery.

    Args:
        cells: with the names of ``columns`` as recoveries.
        counted: what the number is of.
        points: the number of each of those recoveries that belongs to the curve.
    """
    values = list(points.values())
    with alike():
        figure = Figure(layout="constrained")
        for poison, axes in _panels(figure, ordered(cells["poison"]), room=0.6).items():
            found = cells[cells["poison"] == poison].groupby("recovery")["accuracy"]
            mean, spread = found.mean().reindex(list(points)), found.std().fillna(0).reindex(list(points))
            axes.plot(values, mean, color=CLEAN, marker="o", markersize=3, linewidth=1.4)
            axes.fill_between(values, mean - spread, mean + spread, color=CLEAN, alpha=0.25, linewidth=0)
            if CONTROL in found.groups:
                axes.axhline(found.mean()[CONTROL], color=POISONED, linestyle="--", linewidth=1.2)
            _marked(axes, values)
        figure.supxlabel(f"{counted} (dashed: no recovery)", fontsize=9)
        return saved(figure, "svg")


def samples_figure(dfr: pd.DataFrame) -> bytes:
    """Return an SVG: mean accuracy of new heads by their clean samples, after the last and the best epoch, and of the untrained network."""
    counts = sorted(dfr["clean_samples"].unique())
    with alike():
        figure = Figure(layout="constrained")
        panels = _panels(figure, ordered(dfr["poison"]), room=0.9)
        for poison, axes in panels.items():
            by_epoch = dfr[dfr["poison"] == poison].pivot_table("test_accuracy", "clean_samples", "epoch")
            axes.plot(counts, by_epoch.iloc[:, 1:].max(axis=1), color=CLEAN, linestyle=":", linewidth=1.4, label="after the best epoch")
            axes.plot(counts, by_epoch.iloc[:, -1], color=CLEAN, marker="o", markersize=3, linewidth=1.4, label="after the last epoch")
            axes.plot(counts, by_epoch[0], color=POISONED, linestyle="--", linewidth=1.2, label="of the untrained network")
            _marked(axes, counts)
        _legend(figure, next(iter(panels.values())), "new head")
        figure.supxlabel("clean samples", fontsize=9)
        return saved(figure, "svg")


def scatter_figure(decided: pd.DataFrame) -> bytes:
    """Return an SVG: what training on each poison leaves, against how separable its perturbations are.

    Args:
        decided: the table of ``pages.decided``.
    """
    rows = decided.sort_values("accuracy", kind="stable").dropna(subset=["separability"])
    with alike():
        figure = Figure(figsize=(6, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.scatter(rows["separability"], rows["accuracy"], color=POISONED, zorder=3)
        for clean in decided.loc[decided["poison"] == CONTROL, "accuracy"]:
            axes.plot((0, 1), (clean, clean), color=CLEAN, linestyle="--", linewidth=1.2)
        for row in rows[rows["separability"] < CROWDED].itertuples():
            axes.annotate(row.poison, (row.separability, row.accuracy), (-6, 0), textcoords="offset points", ha="right", va="center")
        _name_in_a_column(axes, rows[rows["separability"] >= CROWDED])
        percent(axes, "dashed: trained on clean images")
        axes.set(xlim=(0, 1.35), xlabel="accuracy of a linear model on the perturbations alone", ylabel="accuracy on the clean test set")
        axes.set_xticks([place / 5 for place in range(6)])
        axes.xaxis.set_major_formatter("{x:.0%}")
        return saved(figure, "svg")


def _name_in_a_column(axes: Axes, rows: pd.DataFrame) -> None:
    """Write the names of points that crowd at the right beside them, one above the other, with lines."""
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "relpos": (0, 0.5)}
    for row, place in zip(rows.itertuples(), _apart(list(rows["accuracy"])), strict=True):
        axes.annotate(str(row.poison), (row.separability, row.accuracy), (1.08, place), va="center", arrowprops=line)


def _apart(places: list[float], least: float = 0.045) -> list[float]:
    """Return ascending places with at least that much between two, none of them lower than before."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + least) if found else place)
    return found
