"""Projection of 50,000 x 3072 float32 images: ours in place in chunks, against two plain loops.

The published recipe takes the rows of Q^T one after another, each over the whole set (NumPy, on a copy); the other loop
takes the images one after another.

python -m benchmarks.projection
"""

import argparse
import resource

import numpy as np
import torch

from benchmarks.timing import in_turns, machine
from unlearnable.images import Projection
from unlearnable.training.pixels import project_out_

PIXELS, DIRECTIONS = 3072, 10


def one_by_one(images: torch.Tensor, basis: torch.Tensor) -> None:
    """Project image by image, the simplest way to write it."""
    for index in range(len(images)):
        image = images[index]
        images[index] = image - basis @ (basis.T @ image)


def direction_by_direction(images: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return a copy without each direction in turn, as the published recipe goes about it."""
    left = images.copy()
    for direction in basis.T:
        left -= np.outer(left @ direction, direction)
    return left


def peak_mib() -> float:
    """Return the most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(arguments.images, PIXELS, generator=generator)
    basis = torch.linalg.qr(torch.randn(PIXELS, DIRECTIONS, generator=generator))[0]
    projection = Projection(basis=basis.numpy(), centre=np.zeros(PIXELS, np.float32))
    expected, before = images[:100].clone(), peak_mib()
    project_out_(images, projection)
    extra = peak_mib() - before
    one_by_one(expected, basis)
    difference = float((images[:100] - expected).abs().max())
    ours, rows, singly = "in chunks, in place (ours)", "a direction at a time (published recipe)", "an image at a time"
    contestants = {
        ours: lambda: _keep(project_out_(images, projection)),
        rows: lambda: _keep(direction_by_direction(images.numpy(), basis.numpy())),
        singly: lambda: one_by_one(images, basis),
    }
    medians = in_turns(contestants, arguments.rounds)
    print(machine())
    print(f"{arguments.images} x {PIXELS} float32, medians of {arguments.rounds} rounds")
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.3f} s, {seconds / medians[ours]:.1f} times ours")
    print(f"extra memory of ours {extra:.1f} MiB, largest difference from an image at a time {difference:.1e}")


def _keep(_: object) -> None:
    """Take a result and return none."""


if __name__ == "__main__":
    main()
