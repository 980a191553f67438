"""What is learned from pairs of an original and its protected copy is undone on all images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import unlearnable
from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.recoveries import Needs, recover, recovery_named
from unlearnable.recoveries.pairs import linear_map

CPU = torch.device("cpu")
CLEAN = make_images(60, classes=3)


def undone(protected, clean=CLEAN, **settings):
    return recover("pairs", protected, clean=clean, seed=0, device=CPU, settings=settings)


@pytest.mark.parametrize("count", [3, 17, 60])
@pytest.mark.parametrize("poison", ["classwise_random", "patches_4"])
def test_a_perturbation_of_each_class_is_gone_from_one_pair_a_class_on(poison, count):
    """No pixel of these images is near black or white, so rounding and clipping moved all images of a class alike."""
    protected = unlearnable.craft(poison, CLEAN)
    assert not np.array_equal(protected.images, CLEAN.images)
    assert np.array_equal(undone(protected, clean_samples=count).images, CLEAN.images)


def test_a_perturbation_that_each_image_has_of_its_own_is_not():
    """The twin of the test above. Of its own class each image loses the mean, from which its noise was independent."""
    noise = np.random.default_rng(0).integers(-8, 9, CLEAN.images.shape)
    protected = replace(CLEAN, images=(CLEAN.images + noise).astype(np.uint8))
    left = undone(protected, clean_samples=60).images.astype(int) - CLEAN.images
    assert np.abs(left).mean() > 0.9 * np.abs(noise).mean()
    for label in range(3):
        assert np.abs(left[CLEAN.labels == label].mean(0)).max() <= 0.5  # rounding


def one_pixel(values, labels) -> LabelledImages:
    images = np.array(values, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return LabelledImages(images=images, labels=np.array(labels), num_classes=2)


def test_means_of_classes_by_hand():
    """With all pairs: class 0 moved by 4 and 2, so 3 is taken off; class 1 by -10 and -6, so 8 is added, up to 255."""
    clean, protected = (one_pixel(values, [0, 0, 1, 1]) for values in ([10, 20, 255, 100], [14, 22, 249, 90]))
    assert undone(protected, clean, clean_samples=4).images.ravel().tolist() == [11, 19, 255, 98]


def test_an_affine_map_by_which_images_were_protected_is_undone_from_pixels_and_one_pairs_on():
    """A negative: the perturbation 255 - 2 x is an affine function of the protected image."""
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 2, 2)).astype(np.uint8)
    clean = LabelledImages(images=images, labels=np.arange(60) % 3, num_classes=3)
    protected = replace(clean, images=255 - images)
    assert np.array_equal(undone(protected, clean, fit="linear_map", clean_samples=16, l2=1e-9).images, images)
    few = undone(protected, clean, fit="linear_map", clean_samples=6, l2=1e-9).images  # fewer pairs than the 12 pixels
    assert np.abs(few.astype(int) - images).max() > 30


def test_the_linear_map_is_that_of_numpys_least_squares():
    """Ridge regression is least squares with a row of the root of k l2 for each pixel, and zeros to be reached by these."""
    rng, l2, clean = np.random.default_rng(0), 0.03, make_images(60, classes=3, side=4)
    protected = replace(clean, images=(clean.images + rng.integers(-8, 9, clean.images.shape)).astype(np.uint8))
    before, after = (each.images.reshape(60, -1) / 255 for each in (clean, protected))
    centred, change = after - after.mean(0), after - before
    rows = np.concatenate([centred, np.sqrt(60 * l2) * np.eye(48)])
    found = np.linalg.lstsq(rows, np.concatenate([change - change.mean(0), np.zeros((48, 48))]), rcond=None)[0]
    asked = make_images(5, classes=3, side=4, seed=4)
    expected = (asked.images.reshape(5, -1) / 255 - after.mean(0)) @ found + change.mean(0)
    estimate = linear_map(clean, protected, l2, CPU)
    pixels = torch.from_numpy(asked.images / 255).float()
    assert np.allclose(estimate(pixels, torch.from_numpy(asked.labels)).reshape(5, -1).numpy(), expected, atol=1e-6)


def test_pairs_are_those_of_the_images_that_both_sets_have():
    """A release may cover a part of the set, in another order."""
    protected = unlearnable.craft("patches_4", CLEAN).subset(np.arange(59, 9, -1))
    assert np.array_equal(undone(protected, clean_samples=3).images, CLEAN.images[:9:-1])
    with pytest.raises(InputError, match=r"^recover\.pairs\.clean_samples: subset: expected at most 50 images, got size 51$"):
        undone(protected, clean_samples=51)


def test_what_it_needs():
    assert recovery_named("pairs", {"clean_samples": 9}).needs == Needs(clean_samples=9, labels_before=True, once=True)
    assert recovery_named("pairs", {"clean_samples": 9, "fit": "linear_map"}).needs == Needs(clean_samples=9, once=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clean_samples": 61}, "recover.pairs.clean_samples: subset: expected at most 60 images, got size 61"),
        ({"clean_samples": 2}, "recover.pairs.clean_samples: subset: expected at least 3 images, one of each class, got size 2"),
        ({"fit": "mean"}, "parameter 'recover.pairs.fit': expected 'class_means' or 'linear_map', got 'mean'"),
        ({"clean": None}, "clean: expected clean images, 500 of which 'pairs' takes, got none"),
    ],
)
def test_what_cannot_be_is_one_line(settings, message):
    with pytest.raises(InputError) as error:
        unlearnable.recover("pairs", CLEAN, **{"clean": CLEAN} | settings)
    assert str(error.value) == message


def test_the_library_undoes_and_trains_alike():
    protected = unlearnable.craft("patches_4", CLEAN)
    recipe = {"epochs": 1, "batch_size": 20, "precision": "float32"}
    given = unlearnable.train("tiny_cnn", protected, CLEAN, clean=CLEAN, recovery="pairs", recovery_settings={"clean_samples": 3}, **recipe)
    made = unlearnable.recover("pairs", protected, clean=CLEAN, clean_samples=3)
    assert given.history["loss"].tolist() == unlearnable.train("tiny_cnn", made, CLEAN, clean=CLEAN, **recipe).history["loss"].tolist()
    with pytest.raises(InputError, match=r"^clean: expected the originals of 500 images, got none$"):
        recover("pairs", protected, seed=0, device=CPU, settings={})
