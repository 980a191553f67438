"""Each network for one epoch on clean and on poisoned images of CIFAR-10, and deep feature reweighting of what it has learned then.

python -m benchmarks.networks --data-root /data
python -m benchmarks.networks --data-root /data --models resnet18,timm:convnext_atto

Each network has a process of its own, of which the peak of memory is told. Every line of the output is one JSON object; what is in it
already is not done again. --table prints it as Markdown. No Kedro is needed.
"""

import argparse
import json
import resource
import subprocess  # for our own commands  # nosec B404
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from benchmarks.poisons import Settings, cifar10, lines_of, say, settings_of
from benchmarks.timing import machine
from unlearnable.models import MODELS, build
from unlearnable.poisons import Crafting, craft
from unlearnable.probes import ReweightingRecipe, reweight
from unlearnable.training import fit_named, recipe_from
from unlearnable.training.device import choose_device

ENV = "cifar10_small"
SAMPLES = 500


def main() -> None:
    """Measure what is not measured yet, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--train-size", type=int, default=2000)
    parser.add_argument("--test-size", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("networks.jsonl"))
    parser.add_argument("--only", help="measure one network in this process")
    parser.add_argument("--table", action="store_true", help="print what is there, and run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(lines_of(arguments.out)))
    elif arguments.only:
        torch.set_num_threads(arguments.threads)
        print(json.dumps(measured(arguments.only, arguments)))
    else:
        each(arguments)


def each(arguments: argparse.Namespace) -> None:
    """Measure each network in a process of its own."""
    there = {line["model"] for line in lines_of(arguments.out)}
    for model in arguments.models.split(","):
        if model in there:
            continue
        say(model)
        options = ("data_root", "train_size", "test_size", "threads")
        given = [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in options]
        command = [sys.executable, "-m", "benchmarks.networks", f"--only={model}", *given]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # no shell  # noqa: S603  # nosec B603
        with arguments.out.open("a") as output:
            output.write(done.stdout)


def measured(model: str, arguments: argparse.Namespace) -> Settings:
    """Return what one network does with clean and with poisoned images."""
    settings = settings_of(ENV, model)
    sizes = {"train_size": arguments.train_size, "test_size": arguments.test_size}
    clean, test = cifar10(arguments.data_root, settings["ingest"] | sizes)
    recipe = replace(recipe_from(settings["train"]), epochs=1)
    probe = ReweightingRecipe(clean_samples=SAMPLES, held_out=100)
    found: Settings = {"model": model, "machine": machine(), "parameters": parameters(model), **sizes}
    for poison in ("none", "ops"):
        images = craft(poison, clean, Crafting(seed=0), settings={})
        start = time.perf_counter()
        training = fit_named(model, images, test, like=clean, recipe=recipe, seed=0, device="auto")
        checkpoints = [replace(checkpoint, training={}) for checkpoint in training]
        trained = time.perf_counter() - start
        rows = reweight(checkpoints, clean, test, model=model, training=recipe, recipe=probe, seed=0, device=choose_device("auto"))
        last = checkpoints[-1].history[-1]
        found[poison] = {
            "images_per_second": last["images_per_second"],
            "test_accuracy": last["test_accuracy"],
            "seconds": trained,
            "dfr": rows[-1]["test_accuracy"],
            "dfr_untrained": rows[0]["test_accuracy"],
        }
    return found | {"gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def parameters(model: str) -> int:
    """Return the number of parameters with ten classes."""
    return sum(value.numel() for value in build(model, shape=(3, 32, 32), num_classes=10, seed=0).parameters())


def table(lines: list[Settings]) -> str:
    """Return Markdown."""
    titles = (
        "network",
        "parameters, M",
        "images/s",
        "peak memory, GiB",
        "clean",
        "new head",
        "OPS",
        "new head",
        "untrained, new head",
    )
    rows = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for line in pd.DataFrame(lines).to_dict("records"):
        none, ops = line["none"], line["ops"]
        numbers = f"{line['parameters'] / 1e6:.1f} | {none['images_per_second']:.0f} | {line['gib']:.1f}"
        accuracies = " | ".join(f"{part[name]:.3f}" for part in (none, ops) for name in ("test_accuracy", "dfr"))
        rows.append(f"| `{line['model']}` | {numbers} | {accuracies} | {none['dfr_untrained']:.3f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
