"""Craft poisons once and train on each with several seeds, clean, poisoned and after Orthogonal Projection.

python -m benchmarks.poisons --env cifar10_small --data-root /data --poisons em_samplewise,tap

Reads the settings of an environment, but needs no Kedro, so it also runs on a GPU host without it:
python -m benchmarks.poisons --env cifar10 --model resnet18 --data-root /data --poisons em_samplewise,tap,rem --seeds 0,1,2
Every line of the output is one JSON object; what is in it already is not done again. --table prints it as Markdown.
"""

import argparse
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torchvision.datasets import CIFAR10

from benchmarks.timing import machine
from unlearnable.images import LabelledImages, balanced_subset
from unlearnable.poisons import POISONS, Crafting, craft
from unlearnable.recoveries import recover
from unlearnable.seeds import numpy_generator
from unlearnable.training import fit_named, recipe_from
from unlearnable.training.device import choose_device

CONF = Path(__file__).parents[1] / "conf"
Settings = dict[str, Any]


def settings_of(env: str, model: str) -> Settings:
    """Return the parameters of an environment as Kedro would see them."""
    parameters = _read("base")
    own = _read(env) if env != "base" else {}
    like = own.pop("like", None)
    for above in (_read(like) if like else {}, own):
        parameters = merged(parameters, above)
    trainings = []
    for recipe in (parameters["train"], parameters["probe"]["train"]):
        by_model = recipe.pop("by_model")
        trainings.append(merged(recipe, by_model.get(model) or {}))
    train, probed = trainings
    return {**parameters, "train": train, "probe": parameters["probe"] | {"train": merged(train, probed)}}


def _read(env: str) -> Settings:
    """Return what the files of an environment say."""
    found: Settings = {}
    for file in sorted((CONF / env).glob("parameters*.yml")):
        found = merged(found, yaml.safe_load(file.read_text()))
    return found


def merged(below: Settings, above: Settings) -> Settings:
    """Return nested settings with ``above`` over ``below``."""
    both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(above[key], dict)}
    return {**below, **above, **both}


def cifar10(root: str, settings: Settings) -> tuple[LabelledImages, LabelledImages]:
    """Return the subsets that ``ingest`` would take."""
    sets = []
    for part, train in (("train", True), ("test", False)):
        found = CIFAR10(root, train=train)
        images = np.ascontiguousarray(found.data.transpose(0, 3, 1, 2))
        whole = LabelledImages(images=images, labels=np.asarray(found.targets, dtype=np.int64), num_classes=10)
        sets.append(balanced_subset(whole, settings[f"{part}_size"], numpy_generator(settings["subset_seed"], f"ingest/{part}")))
    return sets[0], sets[1]


def norms(clean: LabelledImages, poisoned: LabelledImages) -> dict[str, float]:
    """Return the norms of the perturbation after rounding: the largest maximum in levels, the mean L2, the most pixels."""
    difference = poisoned.images.astype(np.float32) - clean.images
    flat = difference.reshape(len(difference), -1)
    pixels = (difference != 0).any(1).sum((1, 2))
    return {"linf": float(np.abs(flat).max()), "l2": float(np.linalg.norm(flat, axis=1).mean() / 255), "pixels": float(pixels.max())}


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def crafted(
    name: str, clean: LabelledImages, settings: Settings, seed: int, device: torch.device, folder: Path
) -> tuple[LabelledImages, Settings]:
    """Return the poisoned set and what was measured of the crafting; both are kept in ``folder``."""
    images, about = folder / f"{name}.npy", folder / f"{name}.json"
    if not about.exists():
        crafting = Crafting(seed=seed, device=device, report=lambda number, measured: say(f"{name}: round {number} {measured}"))
        start = time.perf_counter()
        poisoned = craft(name, clean, crafting, settings=settings.get(name) or {})
        measured = {"crafting": time.perf_counter() - start, **norms(clean, poisoned)}
        np.save(images, poisoned.images)
        about.write_text(json.dumps(measured))
    kept = np.load(images, allow_pickle=False)  # written above  # noqa: TID251
    return dataclasses.replace(clean, images=kept), json.loads(about.read_text())


def table(lines: list[Settings]) -> str:
    """Return Markdown: mean and sample deviation over seeds."""
    found = pd.DataFrame(line for line in lines if "accuracy" in line)
    crafting = {line["poison"]: line for line in lines if "crafting" in line}
    rows = ["| poison | largest change, levels | mean L2 | crafting, s | poisoned | recovered |", "|---" * 6 + "|"]
    cell = found.groupby(["poison", "training"])["accuracy"].agg(["mean", "std"])
    text = {key: f"{row['mean']:.3f}" + (f" ± {row['std']:.3f}" if row["std"] >= 0 else "") for key, row in cell.iterrows()}
    rows.append(f"| `none` (clean) | 0 | 0 | | {text['none', 'clean']} | |")
    for name, about in crafting.items():
        sizes = f"{about['linf']:.0f} | {about['l2']:.3f} | {about['crafting']:.0f}"
        rows.append(f"| `{name}` | {sizes} | {text.get((name, 'poisoned'), '')} | {text.get((name, 'recovered'), '')} |")
    return "\n".join(rows)


def parser_of(description: str | None, *, poisons: str, out: str) -> argparse.ArgumentParser:
    """Return the options of a benchmark that trains on poisons, with those that differ between them as defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="cifar10_small")
    parser.add_argument("--model", default="small_cnn")
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--poisons", default=poisons)
    parser.add_argument("--seeds", default="0,1,2", help="of the trainings; a poison is crafted once")
    parser.add_argument("--train-size", type=int, help="instead of the environment's")
    parser.add_argument("--test-size", type=int, help="instead of the environment's")
    parser.add_argument("--epochs", type=int, help="instead of the environment's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--table", action="store_true", help="print what is there, and run nothing")
    return parser


def lines_of(output: Path) -> list[Settings]:
    """Return what is in a file of JSON lines already."""
    return [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []


def sized(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """Return the settings of ``ingest`` with the sizes that the command line gives."""
    given = {name: getattr(arguments, name) for name in ("train_size", "test_size")}
    return settings | {name: size for name, size in given.items() if size}


def main() -> None:
    """Run what is asked for and not there yet."""
    parser = parser_of(__doc__, poisons=",".join(name for name in POISONS if name != "none"), out="data/07_model_output/poisons")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of a craft setting, as tap.attack.steps=2")
    arguments = parser.parse_args()
    output = arguments.out / "results.jsonl"
    lines = lines_of(output)
    if arguments.table:
        print(table(lines))
        return
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    say(machine())
    run(arguments, lines, output)


def run(arguments: argparse.Namespace, lines: list[Settings], output: Path) -> None:
    """Craft, train, and append a line for each."""
    settings, device = settings_of(arguments.env, arguments.model), choose_device("auto")
    for name, value in (given.split("=") for given in arguments.set):
        nest = yaml.safe_load(value)
        for part in reversed(name.split(".")):
            nest = {part: nest}
        settings["craft"] = merged(settings["craft"], nest)
    settings["train"]["epochs"] = arguments.epochs or settings["train"]["epochs"]
    clean, test = cifar10(arguments.data_root, sized(settings["ingest"], arguments))
    done = {(line["poison"], line.get("training"), line.get("seed")) for line in lines}

    def write(line: Settings) -> None:
        done.add((line["poison"], line.get("training"), line.get("seed")))
        say(json.dumps(line))
        with output.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def poisoned_of(name: str) -> LabelledImages:
        poisoned, about = crafted(name, clean, settings["craft"], 0, device, arguments.out)
        if (name, None, None) not in done:
            write({"poison": name, **about, "threads": arguments.threads, "device": str(device)})
        return poisoned

    def recovered(name: str, seed: int) -> LabelledImages:
        fit = settings["recover"]["orthogonal_projection"]
        return recover("orthogonal_projection", poisoned_of(name), seed=seed, device=device, settings=fit)

    def train(name: str, training: str, seed: int, make: Callable[[], LabelledImages]) -> None:
        if (name, training, seed) in done:
            return
        train_set, start = make(), time.perf_counter()
        options = {"like": clean, "recipe": recipe_from(settings["train"]), "seed": seed, "device": "auto", "resumable": False}
        *_, last = fit_named(arguments.model, train_set, test, **options)
        peak = max(epoch["test_accuracy"] for epoch in last.history)
        measured = {"accuracy": last.measured["test_accuracy"], "peak": peak, "loss": last.measured["loss"]}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        write({"poison": name, "training": training, "seed": seed, **measured, "seconds": time.perf_counter() - start, "peak_gib": memory})

    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for seed in seeds:
        train("none", "clean", seed, lambda: clean)
    for name, seed in product(arguments.poisons.split(","), seeds):
        train(name, "poisoned", seed, partial(poisoned_of, name))
        train(name, "recovered", seed, partial(recovered, name, seed))


if __name__ == "__main__":
    main()
