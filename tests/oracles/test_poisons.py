"""Poisons beside the numbers of their references."""

import os

import numpy as np
import pytest

from tests.oracles.table import numbers
from unlearnable.datasets.digits import DigitsOnPhotographs
from unlearnable.datasets.raw import TorchvisionImages
from unlearnable.images import LabelledImages
from unlearnable.poisons import Crafting, craft

CIFAR10 = "UNLEARNABLE_CIFAR10"  # the variable that names a folder with the real images; .ci/run sets it


def digits() -> LabelledImages:
    return DigitsOnPhotographs(name="digits", train_size=6000, test_size=1000, seed=0).load().train


def cifar10() -> LabelledImages:
    if CIFAR10 not in os.environ:
        pytest.skip(f"{CIFAR10} names no folder with CIFAR-10")
    return TorchvisionImages(name="CIFAR10", path=os.environ[CIFAR10], download=False).load().train


@pytest.mark.parametrize(("images", "name"), [(digits, "digits_train_6000"), (cifar10, "cifar10_train_50000")])
def test_ops_takes_the_places_and_colours_of_the_reference(images, name):
    clean = images()
    poisoned = craft("ops", clean, Crafting(seed=0), settings={})
    changed = (poisoned.images != clean.images).any(1)
    for expected in numbers("ops")[name]:
        members = clean.labels == expected["class"]
        [(row, column)] = np.argwhere(changed[members].any(0))
        colour = poisoned.images[members][0, :, row, column] // 255
        assert (row, column, colour.tolist()) == (expected["row"], expected["column"], expected["colour"])
