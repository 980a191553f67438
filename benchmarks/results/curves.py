"""Accuracy epoch by epoch, a panel a poison."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unlearnable.reporting.style import COLOURS, alike, saved
from unlearnable.reporting.tables import ordered

COLUMNS = 4


def epochs_figure(epochs: pd.DataFrame) -> bytes:
    """Return an SVG: mean test accuracy after each epoch, a panel a poison and a line a recovery."""
    poisons, recoveries = ordered(epochs["poison"]), ordered(epochs["recovery"])
    columns, lines = min(COLUMNS, len(poisons)), -(-len(poisons) // COLUMNS)
    with alike():
        figure = Figure(figsize=(max(4.5, 2.4 * columns), 2.3 * lines + 0.6), layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes, poison in zip(grid, poisons, strict=False):
            of_poison = epochs[epochs["poison"] == poison]
            for name, colour in zip(recoveries, COLOURS, strict=False):
                runs = of_poison[of_poison["recovery"] == name]
                means = runs.groupby("epoch")["test_accuracy"].mean()
                axes.plot(means.index, means, color=colour, marker="o", markersize=3, linewidth=1.4, label=name.replace("_", " "))
            axes.set_title(poison, fontsize=9, loc="left")
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter("{x:.0%}")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        for axes in grid[len(poisons) :]:
            axes.set_visible(False)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        figure.supxlabel("epoch", fontsize=9)
        return saved(figure, "svg")
