"""Accuracy epoch by epoch, a panel a poison."""

from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure

from unlearnable.reporting.style import COLOURS, POISONED, alike, percent, saved
from unlearnable.reporting.style import epochs as epochs_axis
from unlearnable.reporting.tables import CONTROL, ordered

COLUMNS = 4


def epochs_figure(epochs: pd.DataFrame) -> bytes:
    """Return an SVG: mean test accuracy after each epoch, a panel a poison and a line a recovery."""
    poisons, recoveries = ordered(epochs["poison"]), ordered(epochs["recovery"])
    colours = dict(zip([name for name in recoveries if name != CONTROL], cycle(COLOURS), strict=False)) | {CONTROL: POISONED}
    columns, lines = min(COLUMNS, len(poisons)), -(-len(poisons) // COLUMNS)
    with alike():
        figure = Figure(figsize=(max(4.5, 2.4 * columns), 2.3 * lines + 0.9), layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes, poison in zip(grid, poisons, strict=False):
            of_poison = epochs[epochs["poison"] == poison]
            for name in recoveries:
                means = of_poison[of_poison["recovery"] == name].groupby("epoch")["test_accuracy"].mean()
                axes.plot(means.index, means, color=colours[name], marker="o", markersize=3, linewidth=1.4, label=name.replace("_", " "))
            percent(axes, f"poison {poison}")
            epochs_axis(axes)
            axes.set_xlabel("")
        for axes in grid[len(poisons) :]:
            axes.set_visible(False)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, title="recovery", loc="outside upper center", ncols=min(4, len(labels)), frameon=False)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("accuracy on the clean test set", fontsize=9)
        return saved(figure, "svg")
