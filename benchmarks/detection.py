"""Which protected sets the detectors of an audit see, and how often they take a clean one for protected.

python -m benchmarks.detection --data-root /data
python -m benchmarks.detection --calibrate --data-root /data

Each set has 1,000 images, which its seed draws: of CIFAR-10, or of the built-in digits. ``--calibrate`` asks clean sets of other seeds,
from which the thresholds come. What is in the file already is not asked again; ``--table`` prints it as Markdown and asks nothing.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits

from benchmarks.poisons import cifar10, say, settings_of
from unlearnable.images import LabelledImages
from unlearnable.poisons import Crafting, craft
from unlearnable.probes.detection import THRESHOLDS, detect
from unlearnable.recoveries import recover
from unlearnable.sources.digits import DigitsOnPhotographs

POISONS = ("lsp", "ops", "ar", "classwise_random", "regions_4", "regions_16", "l2_regions_4", "patches_4", "cuda", "pil")
SEEDS, CALIBRATION_SEEDS = (0, 1, 2), (100, 101, 102)
SIZE = 1_000  # images
FILE = Path("docs/results/detection/scores.parquet")
CPU = torch.device("cpu")
Clean = Callable[[str, int], LabelledImages]  # root, seed -> images
Known = set[tuple[Any, Any, Any]]  # dataset, poison, seed


def natural(root: str, seed: int) -> LabelledImages:
    """Return images of CIFAR-10."""
    return cifar10(root, {"train_size": SIZE, "test_size": 10, "subset_seed": seed})[0]


def digits(_: str, seed: int) -> LabelledImages:
    """Return built-in images."""
    return DigitsOnPhotographs(name="digits", train_size=SIZE, test_size=10, seed=seed).load().train


def grey(root: str, seed: int) -> LabelledImages:
    """Return images of CIFAR-10 without colours."""
    return recover("grayscale", natural(root, seed), seed=0, device=CPU, settings={})


def two_classes(root: str, seed: int) -> LabelledImages:
    """Return aeroplanes and cars of CIFAR-10."""
    whole = cifar10(root, {"train_size": 5 * SIZE, "test_size": 10, "subset_seed": seed})[0]
    return replace(whole.subset(np.flatnonzero(whole.labels < 2)), num_classes=2)


def bare_digits(_: str, seed: int) -> LabelledImages:
    """Return scikit-learn's digits, white on black: a set that any model learns."""
    found = load_digits()
    chosen = np.random.default_rng(seed).permutation(len(found.target))[:SIZE]
    pixels = (found.images[chosen] * (255 / 16)).astype(np.uint8).repeat(4, 1).repeat(4, 2)[:, None].repeat(3, 1)
    return LabelledImages(images=np.ascontiguousarray(pixels), labels=found.target[chosen].astype(np.int64), num_classes=10)


SETS: dict[str, tuple[Clean, str, tuple[str, ...]]] = {  # images, the environment of their poisons, and these
    "cifar10": (natural, "cifar10_small", ("none", *POISONS)),
    "digits": (digits, "base", ("none", *POISONS)),
    "cifar10, grey": (grey, "cifar10_small", ("none",)),
    "cifar10, two classes": (two_classes, "cifar10_small", ("none",)),
    "bare digits": (bare_digits, "base", ("none",)),
}
CALIBRATED = ("cifar10", "digits")


def asked(root: str, datasets: list[str], seeds: tuple[int, ...], *, clean_only: bool, known: Known) -> Iterator[dict[str, Any]]:
    """Yield a row for each set, seed and detector that is not known."""
    for seed in seeds:
        for dataset in datasets:
            images, env, poisons = SETS[dataset]
            settings = settings_of(env, "tiny_cnn")["craft"]
            for poison in poisons[:1] if clean_only else poisons:
                if (dataset, poison, seed) not in known:
                    say(f"{dataset}, {poison}, seed {seed}")
                    poisoned = craft(poison, images(root, seed), Crafting(seed=seed), settings=settings.get(poison) or {})
                    start = time.process_time()
                    found = detect(poisoned, seed=seed, device=CPU)
                    about = {"dataset": dataset, "poison": poison, "seed": seed, "cpu_seconds": time.process_time() - start}
                    yield from (about | {"detector": name, **each} for name, each in found["detectors"].items())


def table(found: pd.DataFrame) -> str:
    """Return Markdown: for each set, mean scores, and in how many of its seeds each detector gave an alarm."""
    found = found[found["seed"].isin(SEEDS)].assign(alarm=lambda rows: rows["score"] > rows["detector"].map(THRESHOLDS))
    names = [name.replace("_", " ") for name in THRESHOLDS]
    lines = [f"| dataset | poison | {' | '.join(names)} | any |", "|---" * (len(names) + 3) + "|"]
    for (dataset, poison), cell in found.groupby(["dataset", "poison"], sort=False):
        by_detector = cell.groupby("detector").agg(score=("score", "mean"), alarms=("alarm", "sum"), asked=("alarm", "size"))
        parts = [f"{each.score:.2f} ({each.alarms} of {each.asked})" for each in by_detector.loc[list(THRESHOLDS)].itertuples()]
        any_alarm = cell.groupby("seed")["alarm"].any()
        lines.append(f"| {dataset} | `{poison}` | {' | '.join(parts)} | {any_alarm.sum()} of {len(any_alarm)} |")
    return "\n".join(lines)


def calibration(found: pd.DataFrame) -> str:
    """Return the largest score of clean sets of the calibration's seeds, by detector."""
    clean = found[found["seed"].isin(CALIBRATION_SEEDS) & found["dataset"].isin(CALIBRATED)]
    return clean.groupby(["detector", "dataset"])["score"].agg(["mean", "max", "count"]).round(3).to_string()


def main() -> None:
    """Ask, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--datasets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--clean", action="store_true", help="ask clean sets alone")
    parser.add_argument("--calibrate", action="store_true", help="ask clean sets of other seeds")
    parser.add_argument("--table", action="store_true", help="print what is there, and ask nothing")
    parser.add_argument("--out", type=Path, default=FILE)
    arguments = parser.parse_args()
    found = pd.read_parquet(arguments.out) if arguments.out.exists() else pd.DataFrame(columns=["dataset", "poison", "seed"])
    if not arguments.table:
        torch.set_num_threads(1)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        seeds = CALIBRATION_SEEDS if arguments.calibrate else tuple(arguments.seeds)
        known = {(row.dataset, row.poison, row.seed) for row in found.itertuples()}
        for row in asked(arguments.data_root, arguments.datasets, seeds, clean_only=arguments.calibrate or arguments.clean, known=known):
            found = pd.concat([found, pd.DataFrame([row])], ignore_index=True) if len(found) else pd.DataFrame([row])
            found.to_parquet(arguments.out)
    print(calibration(found) if arguments.calibrate else table(found))


if __name__ == "__main__":
    main()
