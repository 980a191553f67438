"""Draw what ``benchmarks.poisons`` measured: accuracies of every poison, and what each looks like.

python -m benchmarks.poison_figures --data-root /data --out data/07_model_output/poisons
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.poisons import cifar10, settings_of

COLOURS = {"poisoned": "#cc6677", "recovered": "#228833"}
CLEAN = "#4477aa"
COLUMNS = 3  # poisons side by side
CHANCE = 0.1


def accuracies(found: pd.DataFrame) -> Figure:
    """Return bars of mean accuracy with its deviation over seeds, the poisons in the order of what they leave."""
    cells = found.pivot_table("accuracy", "poison", "training", ["mean", "std"])
    clean = cells["mean", "clean"]["none"]
    cells = cells.drop(index="none").sort_values(("mean", "poisoned"), ascending=False)
    figure = Figure(figsize=(8, 0.42 * len(cells) + 1.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(cells))
    for offset, (name, colour) in zip((0.2, -0.2), COLOURS.items(), strict=True):
        bars = axes.barh(places + offset, cells["mean", name], height=0.38, xerr=cells["std", name], color=colour, label=name)
        axes.bar_label(bars, [f"{value:.0%}" for value in cells["mean", name]], padding=3, fontsize=7)
    axes.axvline(clean, color=CLEAN, label=f"clean, {clean:.0%}")
    axes.axvline(CHANCE, color="grey", linewidth=0.8, linestyle=":", label="chance")
    axes.margins(y=0.01)
    axes.set_yticks(places, cells.index, family="monospace", fontsize=9)
    axes.set(xlim=(0, 1.2 * clean), title="Accuracy on the clean test set, trained on the poisoned set and after Orthogonal Projection")
    axes.title.set_fontsize(10)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def looks(clean: npt.NDArray[np.uint8], poisoned: dict[str, npt.NDArray[np.uint8]]) -> Figure:
    """Return for each poison two images of one class, poisoned, each with what was changed, scaled to be seen."""
    rows = -(-len(poisoned) // COLUMNS)
    figure = Figure(figsize=(2.9 * COLUMNS, 0.95 * rows), layout="constrained")
    grid = figure.subplots(rows, 4 * COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (name, images) in enumerate(poisoned.items()):
        row, column = place // COLUMNS, 4 * (place % COLUMNS)
        for image in range(2):
            changed = images[image].astype(float) - clean[image]
            for step, picture in enumerate((images[image] / 255, 0.5 + changed / (np.abs(changed).max() or 1) / 2)):
                grid[row, column + 2 * image + step].imshow(picture.transpose(1, 2, 0), interpolation="nearest")
        grid[row, column].set_title(name, fontsize=8, family="monospace", loc="left", pad=2)
    return figure


def main() -> None:
    """Draw both figures beside the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="cifar10_small")
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--out", type=Path, default=Path("data/07_model_output/poisons"))
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in (arguments.out / "results.jsonl").read_text().splitlines()]
    accuracies(pd.DataFrame(line for line in lines if "accuracy" in line)).savefig(arguments.out / "accuracies.png", dpi=130)
    clean, _ = cifar10(arguments.data_root, settings_of(arguments.env, "small_cnn")["ingest"])
    pair = np.flatnonzero(clean.labels == clean.labels[0])[:2]
    names = [line["poison"] for line in lines if "crafting" in line]
    files = {name: arguments.out / f"{name}.npy" for name in names}
    poisoned = {name: np.load(file, mmap_mode="r", allow_pickle=False)[pair] for name, file in files.items()}  # our own  # noqa: TID251
    looks(clean.images[pair], poisoned).savefig(arguments.out / "looks.png", dpi=130)


if __name__ == "__main__":
    main()
