"""Craft the poisons that need no network for all 50,000 images of CIFAR-10, and ask a linear model to tell them apart.

python -m benchmarks.analytic --data-root /data
"""

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from benchmarks.poisons import cifar10, norms, settings_of
from benchmarks.timing import machine
from unlearnable.images import LabelledImages
from unlearnable.poisons import Crafting, craft
from unlearnable.seeds import numpy_generator

ANALYTIC = ("lsp", "ops", "ar", "ar_linf", "regions_4", "regions_16", "l2_regions_4", "patches_4", "patches_8", "classwise_random", "cuda")
PUBLISHED = 50_000


def linear_accuracy(clean: LabelledImages, poisoned: LabelledImages, images: int, iterations: int) -> float:
    """Return the training accuracy of softmax regression on perturbations scaled to [0, 1] by their least and largest value.

    Without regularisation it does not converge where classes are separable; it ends at ``iterations``, which is no warning.
    """
    warnings.simplefilter("ignore", ConvergenceWarning)
    chosen = numpy_generator(0, "benchmark").permutation(len(clean))[:images]
    difference = poisoned.images[chosen].astype(np.float32) - clean.images[chosen]
    flat = difference.reshape(len(chosen), -1)
    flat = (flat - flat.min()) / (flat.max() - flat.min())
    model = LogisticRegression(C=np.inf, max_iter=iterations, tol=1e-8)
    labels = clean.labels[chosen]
    return float(model.fit(flat, labels).score(flat, labels))


def main() -> None:
    """Craft, measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--poisons", default=",".join(ANALYTIC))
    parser.add_argument("--images", type=int, default=PUBLISHED, help="for the linear model")
    parser.add_argument("--iterations", type=int, default=150, help="of L-BFGS at most")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = settings_of("cifar10", "resnet18")
    clean, _ = cifar10(arguments.data_root, settings["ingest"])
    print(
        f"{machine()}\n\n| poison | crafting, s | largest change, levels | mean L2 | linear train accuracy |\n" + "|---" * 5 + "|",
        flush=True,
    )
    total = 0.0
    for name in arguments.poisons.split(","):
        start = time.perf_counter()
        poisoned = craft(name, clean, Crafting(), settings=settings["craft"].get(name, {}))
        seconds = time.perf_counter() - start
        total += seconds
        found = norms(clean, poisoned)
        accuracy = linear_accuracy(clean, poisoned, arguments.images, arguments.iterations)
        print(f"| `{name}` | {seconds:.1f} | {found['linf']:.0f} | {found['l2']:.3f} | {accuracy:.3f} |", flush=True)
    print(f"\nall together {total:.1f} s")


if __name__ == "__main__":
    main()
