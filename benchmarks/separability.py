"""Separability of perturbations of all 50,000 images of CIFAR-10: what each model reaches, how long it takes, and scikit-learn's.

python -m benchmarks.separability --data-root /data

Each poison is crafted, kept, and asked in a process of its own; what is there already is not done again. --figure draws all.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.analytic import linear_accuracy
from benchmarks.poisons import cifar10, crafted, say, settings_of
from benchmarks.timing import machine
from unlearnable.images import LabelledImages
from unlearnable.probes import SeparabilityRecipe, perturbations, separability

POISONS = ("none", "lsp", "ops", "regions_4", "regions_16", "classwise_random", "patches_4", "ar")
CPU = torch.device("cpu")


def ask(arguments: argparse.Namespace, name: str) -> None:
    """Write what is found of one poison, or of the clean images, which are ``none``."""
    torch.set_num_threads(arguments.threads)
    settings = settings_of("cifar10", "resnet18")
    settings["ingest"]["train_size"] = arguments.images
    clean, _ = cifar10(arguments.data_root, settings["ingest"])
    poisoned, _ = (clean, {}) if name == "none" else crafted(name, clean, settings["craft"], arguments.seed, CPU, arguments.out)
    before = peak_gib()
    start = time.perf_counter()
    values = torch.from_numpy(clean.images) if name == "none" else perturbations(clean, poisoned)
    recipe = SeparabilityRecipe(held_out=arguments.held_out, linear_iterations=arguments.linear_iterations)
    found: dict[str, Any] = separability(values, torch.from_numpy(clean.labels), num_classes=10, recipe=recipe, device=CPU)
    found |= {"seconds": time.perf_counter() - start, "peak_gib": peak_gib(), "peak_before_gib": before, "machine": machine()}
    if arguments.scikit_learn:
        start = time.perf_counter()
        found["scikit_learn"] = linear_accuracy(blank(clean) if name == "none" else clean, poisoned, len(clean), recipe.iterations)
        found["scikit_learn_seconds"] = time.perf_counter() - start
    (arguments.out / f"{name}-separability.json").write_text(json.dumps(found))


def blank(clean: LabelledImages) -> LabelledImages:
    """Return the images without anything in them, which clean images are a perturbation of."""
    return LabelledImages(images=0 * clean.images, labels=clean.labels, num_classes=clean.num_classes)


def peak_gib() -> float:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def row(name: str, found: dict[str, Any]) -> str:
    """Return a row of the table."""
    models = found["models"]
    parts = [accuracies(fit) + f", {fit['ended']} ({fit['iterations']})" for fit in models.values()]
    sklearns = f"{found['scikit_learn']:.3f} ({found['scikit_learn_seconds']:.0f} s)" if "scikit_learn" in found else ""
    times = f"{models['linear']['seconds']:.1f} | {found['seconds']:.0f} | {found['peak_gib']:.2f}"
    means = f"{found['class_means']['energy']:.4f}, {found['class_means']['rank']}"
    return f"| `{name}` | " + " | ".join(parts) + f" | {accuracies(found['filters'])} | {means} | {sklearns} | {times} |"


def accuracies(fit: dict[str, Any]) -> str:
    """Return training and held-out accuracy."""
    held_out = fit["held_out_accuracy"]
    return f"{fit['train_accuracy']:.3f}" + ("" if held_out is None else f" / {held_out:.3f}")


def main() -> None:
    """Ask and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--poisons", default=",".join(POISONS))
    parser.add_argument("--seed", type=int, default=0, help="of the poisons; each seed needs an --out of its own")
    parser.add_argument("--images", type=int, help="all where it is not given")
    parser.add_argument("--linear-iterations", type=int, help="of `linear` at most; 10,000 are published, 100 where it is not given")
    parser.add_argument("--held-out", type=float, default=0.0, help="the fraction that nothing is fitted to; the paper has none")
    parser.add_argument("--scikit-learn", action="store_true", help="fit its softmax regression too, with as many iterations")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("data/07_model_output/separability"))
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in arguments.poisons.split(","):
        file = arguments.out / f"{name}-separability.json"
        if not file.exists():
            say(name)
            process = multiprocessing.get_context("spawn").Process(target=ask, args=(arguments, name))
            process.start()
            process.join()
        found[name] = json.loads(file.read_text())
    names = list(next(iter(found.values()))["models"])
    headings = ["poison", *names, "3x3 filters", "energy and rank of class means", "scikit-learn's linear", "linear, s", "all, s", "GiB"]
    print(" | ".join(["", *headings, ""]).strip() + "\n" + "|---" * len(headings) + "|")
    for name, each in found.items():
        print(row(name, each))
    if arguments.figure:
        from unlearnable.reporting.cell import separability_figure

        subjects = {"clean images" if name == "none" else name: each for name, each in found.items()}
        separability_figure(subjects, {"dataset": "cifar10", "seed": 0}).savefig(arguments.figure, dpi=120)


if __name__ == "__main__":
    main()
