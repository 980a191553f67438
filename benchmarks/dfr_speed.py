"""Deep feature reweighting with features that are computed once, against the published way, the whole network in every closure.

Both are asked of the same checkpoints in turn, at a reduced size; the images that went through the network are counted, and
what that makes at the paper's size: 5,000 clean samples, 10,000 test images, 60 checkpoints.

python -m benchmarks.dfr_speed --data-root /data
"""

import argparse
from typing import Any

import pandas as pd
import torch

from benchmarks.poisons import cifar10, settings_of
from benchmarks.separability import CPU
from benchmarks.timing import machine
from unlearnable.probes import ReweightingRecipe, reweight
from unlearnable.probes.reweighting import REFERENCE_EPOCHS
from unlearnable.training import Network, fit_named, recipe_from

PAPER = {"clean samples": 5_000, "test images": 10_000, "checkpoints": 60}


class Counter:
    """Counts the images that go through any network's features while it is open."""

    def __init__(self) -> None:
        self.images = 0
        self._applied = Network._applied

    def __enter__(self) -> "Counter":
        def counted(network: Network, function: Any, images: torch.Tensor) -> torch.Tensor:
            self.images += len(images)
            return self._applied(network, function, images)

        Network._applied = counted  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Network._applied = self._applied  # type: ignore[method-assign]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--checkpoints", type=int, default=2, help="beside the untrained network")
    parser.add_argument("--clean-samples", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    count = arguments.clean_samples
    settings = settings_of("cifar10_small", "small_cnn")
    settings["ingest"] |= {"train_size": 2000, "test_size": 2 * count}  # as many test images a clean sample as in the paper
    settings["probe"]["train"]["epochs"] = arguments.checkpoints
    clean, test = cifar10(arguments.data_root, settings["ingest"])
    training = recipe_from(settings["probe"]["train"])
    checkpoints = list(fit_named("small_cnn", clean, test, like=clean, recipe=training, seed=0, device="cpu"))
    rows, images = [], {}
    for estimator in ("frozen", "reference"):
        recipe = ReweightingRecipe(clean_samples=count, held_out=1, estimators=[estimator])
        with Counter() as counter:
            rows += reweight(checkpoints, clean, test, model="small_cnn", training=training, recipe=recipe, seed=0, device=CPU)
        images[estimator] = (counter.images - len(test)) / (1 + arguments.checkpoints)  # less the control's own accuracy
    seconds = pd.DataFrame(rows).groupby("estimator")["seconds"].median()
    ratio = seconds["reference"] / seconds["frozen"]
    print(f"{machine()}\n{count} clean samples, {2 * count} test images, {1 + arguments.checkpoints} networks (small_cnn), medians")
    for name, passed in images.items():
        print(f"{name}: {seconds[name]:.2f} s, {passed:,.0f} images through the network")
    print(f"time: {ratio:.1f} times less, images: {images['reference'] / images['frozen']:.1f} times fewer")
    evaluated = PAPER["clean samples"] + PAPER["test images"]
    closures = (images["reference"] - 3 * count) / (REFERENCE_EPOCHS * count)
    published = REFERENCE_EPOCHS * closures * PAPER["clean samples"] + evaluated
    print(
        f"a step has {closures:.1f} closures; at the paper's size {PAPER['checkpoints']} checkpoints take {60 * published:,.0f} images the "
        f"published way, {60 * evaluated:,.0f} with features once: {published / evaluated:.0f} times fewer"
    )


if __name__ == "__main__":
    main()
