"""Trainings have the losses that they had before their steps could be recorded: what is drawn, and in what order, is a promise.

``losses.json`` is what the code of commit 6bbc24a gave, in which each batch drew for itself when it came. Other processors round otherwise,
which is far less than what another draw does.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearnable.images import LabelledImages
from unlearnable.recoveries import recovery_named
from unlearnable.training import Augmentation, TrainingRecipe, fit_named

LOSSES = json.loads(Path(__file__).with_name("losses.json").read_text())
AUGMENTATIONS = {
    "none": {},
    "crop and flip": {"crop": 2, "flip": True},
    "affine": {"rotation": 10, "shear": 10, "scale": 0.2},
    "rotation": {"rotation": 10},
    "shear": {"shear": 10},
    "colours": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
    "shuffled colours": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "clip_jitter": True, "shuffle_jitter": True},
    "resized crop": {"resized_crop": 0.3},
    "cutmix": {"crop": 2, "cutmix": 0.5, "flip": True},
}
RECOVERIES = {
    "adversarial_training": {"steps": 2},
    "gaussian_noise": {},
    "cutout": {},
    "cutmix": {"probability": 0.7},
    "mixup": {},
    "randaugment": {},
    "ueraser_lite": {},
    "ueraser_max": {"repeats": 2},
}
CASES = {f"none, {name}": ("none", {}, settings) for name, settings in AUGMENTATIONS.items()} | {
    f"{name}, cutmix": (name, settings, AUGMENTATIONS["cutmix"]) for name, settings in RECOVERIES.items()
}


def images() -> LabelledImages:
    rng = np.random.default_rng(0)
    labels = np.arange(72) % 4
    pixels = rng.integers(0, 128, (4, 3, 16, 16))[labels] + rng.integers(0, 128, (72, 3, 16, 16))
    return LabelledImages(images=pixels.astype(np.uint8), labels=labels, num_classes=4)


def losses(name, settings, augmentation) -> list[float]:
    """Return the losses of two epochs of five batches, the last of them smaller."""
    recipe = TrainingRecipe(epochs=2, batch_size=16, learning_rate=0.02, precision="float32", augmentation=Augmentation(**augmentation))
    torch.set_num_threads(1)
    some, method = images(), recovery_named(name, settings).method(images(), seed=3)
    checkpoints = fit_named("tiny_cnn", some, some, like=some, recipe=recipe, seed=3, device="cpu", method=method)
    return [checkpoint.measured["loss"] for checkpoint in checkpoints]


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_before(case):
    assert losses(*CASES[case]) == pytest.approx(LOSSES[case], rel=1e-3)


def test_each_case_has_losses_of_its_own():
    assert len({tuple(found) for found in LOSSES.values()}) == len(CASES) == len(LOSSES)
