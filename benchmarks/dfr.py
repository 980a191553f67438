"""Train on poisons with a checkpoint an epoch, and ask each checkpoint what it has learned by a new head on clean images.

python -m benchmarks.dfr --data-root /data --train-size 10000 --epochs 12 --clean-samples 500,1000,5000 --held-out 1000

Reads the settings of an environment, but needs no Kedro, so it also runs on a GPU host without it; the paper's own scale is:
python -m benchmarks.dfr --env cifar10 --model resnet18 --data-root /data --poisons ops,ar,lsp --clean-samples 500,1000,5000,15000
Every line of the output is one JSON object, a training with its table; what is in it already is not done again. --table prints
it as Markdown, --figure draws it.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.poisons import Settings, cifar10, crafted, lines_of, parser_of, say, settings_of, sized
from benchmarks.timing import machine
from unlearnable.images import LabelledImages
from unlearnable.probes import ReweightingRecipe, reweight
from unlearnable.training import fit_named, recipe_from
from unlearnable.training.device import choose_device

STYLES = {"frozen": "#228833", "recalibrated": "#4477aa", "reference": "#aa8833"}
OWN = "#cc6677"


def cell(
    arguments: argparse.Namespace, settings: Settings, poisoned: LabelledImages, seed: int, clean: LabelledImages, test: LabelledImages
) -> Settings:
    """Train and probe; return the rows of the probe with what they took."""
    device, recipe = choose_device("auto"), recipe_from(settings["probe"]["train"])
    start = time.perf_counter()
    options = {"like": clean, "recipe": recipe, "seed": seed, "device": "auto", "resumable": False}
    checkpoints = list(fit_named(arguments.model, poisoned, test, **options))
    trained = time.perf_counter() - start
    probe = ReweightingRecipe(**{name: value for name, value in settings["probe"].items() if name != "train"})
    rows = reweight(
        checkpoints,
        clean,
        test,
        model=arguments.model,
        training=recipe,
        recipe=probe,
        seed=seed,
        device=device,
        report=lambda epoch, measured: say(f"epoch {epoch} {measured}"),
    )
    return {"rows": rows, "training_seconds": trained, "threads": torch.get_num_threads(), "device": str(device)}


def chosen(rows: pd.DataFrame) -> dict[str, float]:
    """Return the accuracies that a table of one training, estimator and count gives, and the epochs that were chosen."""
    trained, control = rows[rows["epoch"] > 0].set_index("epoch"), rows.set_index("epoch").loc[0]
    accuracy, plain = trained["test_accuracy"], trained["plain_accuracy"]
    held_out = trained["held_out_accuracy"].idxmax()
    return {
        "plain": plain.iloc[-1],
        "plain peak": plain.max(),
        "control": control["test_accuracy"],
        "last": accuracy.iloc[-1],
        "held-out choice": accuracy[held_out],
        "test choice (optimistic)": accuracy.max(),
        "epoch": float(held_out),
    }


def long(lines: list[Settings]) -> pd.DataFrame:
    """Return one row an epoch, estimator, count, seed and poison."""
    return pd.concat([pd.DataFrame(line["rows"]).assign(poison=line["poison"], seed=line["seed"]) for line in lines])


def table(lines: list[Settings]) -> str:
    """Return Markdown: mean and sample deviation over seeds."""
    groups = long(lines).groupby(["poison", "estimator", "clean_samples", "seed"], sort=False)
    found = pd.DataFrame([dict(zip(groups.keys, key, strict=True)) | chosen(rows) for key, rows in groups])
    names = [name for name in found.columns if name not in groups.keys and name != "epoch"]
    text = ["| poison | estimator | clean samples | " + " | ".join(names) + " | held-out epochs |", "|---" * (4 + len(names)) + "|"]
    for (poison, estimator, count), rows in found.groupby(["poison", "estimator", "clean_samples"], sort=False):
        deviations = [f" ± {rows[name].std():.3f}" if len(rows) > 1 else "" for name in names]
        cells = [f"{rows[name].mean():.3f}{deviation}" for name, deviation in zip(names, deviations, strict=True)]
        cells.append(", ".join(f"{epoch:.0f}" for epoch in rows["epoch"]))
        text.append(f"| `{poison}` | {estimator} | {count:,} | " + " | ".join(cells) + " |")
    return "\n".join(text)


def figure(lines: list[Settings]) -> Figure:
    """Return a panel a poison: accuracy against epoch of own and of new heads, mean and range over seeds, and the controls."""
    found = long(lines)
    found = found[found["clean_samples"] == found["clean_samples"].max()]
    poisons = list(found["poison"].unique())
    drawn = Figure(figsize=(3.3 * len(poisons) + 1.6, 3.6), layout="constrained")
    for axes, poison in zip(drawn.subplots(1, len(poisons), sharey=True, squeeze=False)[0], poisons, strict=True):
        rows = found[found["poison"] == poison]
        own = rows[rows["estimator"] == rows["estimator"].iloc[0]]
        _curve(axes, own, "plain_accuracy", OWN, "own head")
        for name, part in rows.groupby("estimator", sort=False):
            _curve(axes, part[part["epoch"] > 0], "test_accuracy", STYLES[str(name)], f"new head, {name}")
            control = part.loc[part["epoch"] == 0, "test_accuracy"].mean()
            axes.axhline(control, color=STYLES[str(name)], linestyle="--", linewidth=1, label=f"untrained network, {name}")
        axes.set(title=poison, xlabel="epoch", ylim=(0, None))
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    count, seeds = found["clean_samples"].iloc[0], found["seed"].nunique()
    drawn.suptitle(f"Accuracy on the clean test set, {count:,} clean samples, mean and range over {seeds} seeds", fontsize=11)
    return drawn


def _curve(axes: Axes, rows: pd.DataFrame, column: str, colour: str, label: str) -> None:
    by_epoch = rows.groupby("epoch")[column]
    axes.plot(by_epoch.mean(), color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(np.asarray(by_epoch.min().index), by_epoch.min(), by_epoch.max(), color=colour, alpha=0.2, linewidth=0)


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = parser_of(__doc__, poisons="ops,ar,em_samplewise", out="data/07_model_output/dfr")
    parser.add_argument("--estimators", default="frozen,recalibrated")
    parser.add_argument("--clean-samples", default="5000")
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--asked", help="epochs to probe; all where it is not given")
    parser.add_argument("--figure", type=Path, help="draw what is there into this file, and run nothing")
    return parser.parse_args()


def main() -> None:
    """Run what is asked for and not there yet."""
    arguments = parsed()
    output = arguments.out / "results.jsonl"
    lines = lines_of(output)
    if arguments.table:
        print(table(lines))
    if arguments.figure:
        figure(lines).savefig(arguments.figure, dpi=120)
    if arguments.table or arguments.figure:
        return
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    say(machine())
    settings = settings_of(arguments.env, arguments.model)
    settings["probe"]["train"]["epochs"] = arguments.epochs or settings["probe"]["train"]["epochs"]
    settings["probe"] |= {"estimators": arguments.estimators.split(","), "held_out": arguments.held_out}
    settings["probe"]["clean_samples"] = [int(count) for count in arguments.clean_samples.split(",")]
    settings["probe"]["epochs"] = [int(epoch) for epoch in arguments.asked.split(",")] if arguments.asked else None
    sets = cifar10(arguments.data_root, sized(settings["ingest"], arguments))
    done = {(line["poison"], line["seed"]) for line in lines}
    for name, seed in product(arguments.poisons.split(","), map(int, arguments.seeds.split(","))):
        if (name, seed) not in done:
            poisoned, _ = crafted(name, sets[0], settings["craft"], 0, choose_device("auto"), arguments.out)
            say(f"{name}, seed {seed}")
            line = {"poison": name, "seed": seed, **cell(arguments, settings, poisoned, seed, *sets)}
            with output.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
