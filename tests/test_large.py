"""Sets that are larger than the memory give what small ones give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from kedro.io import Version

from tests.conftest import make_images
from unlearnable.artifacts.tensors import ImagesDataset
from unlearnable.images import Projection, channel_statistics
from unlearnable.poisons import Crafting, craft
from unlearnable.recoveries import recover
from unlearnable.training import TrainingRecipe, fit_named
from unlearnable.training.pixels import Projected, resident, seen

IMAGES = make_images(1500, classes=3)  # more than one chunk
POISONS = {
    "lsp": {"l2": 2.0},
    "ops": {},
    "ar": {"l2": 1.0, "search": {"largest_norm": 50.0, "least_response": 0.5, "attempts": 20000}},
    "cuda": {"blur": 0.3},
    "classwise_random": {"linf": 0.03},
    "regions_4": {"linf": 0.03},
    "patches_4": {"linf": 0.03},
    "none": {},
}


@pytest.fixture
def everything_is_large(monkeypatch):
    for name in ("images", "training.pixels", "artifacts.atomic"):
        monkeypatch.setattr(f"unlearnable.{name}.LARGE", 1000)


@pytest.mark.parametrize("name", POISONS)
def test_a_poison_on_the_disk_is_the_one_in_memory(name, request):
    small = craft(name, IMAGES, Crafting(seed=0), settings=POISONS[name])
    request.getfixturevalue("everything_is_large")
    large = craft(name, IMAGES, Crafting(seed=0), settings=POISONS[name])
    assert isinstance(large.images, np.memmap)
    assert not isinstance(small.images, np.memmap)
    assert np.array_equal(small.images, large.images)


def test_pixels_are_changed_on_the_disk_too(request):
    settings = {"seed": 0, "device": torch.device("cpu"), "settings": {"bits": 2}}
    small = recover("bdr", IMAGES, **settings)
    request.getfixturevalue("everything_is_large")
    large = recover("bdr", IMAGES, **settings)
    assert isinstance(large.images, np.memmap)
    assert np.array_equal(small.images, large.images)


def test_a_mapped_set_is_what_was_saved(everything_is_large, tmp_path):
    dataset = ImagesDataset(filepath=str(tmp_path / "images.safetensors"), recipe="abc", version=Version(None, None))
    dataset.save(projected())
    found = dataset.load()
    assert np.array_equal(found.images, IMAGES.images)
    assert np.array_equal(found.projection.basis, projected().projection.basis)
    assert not found.images.flags.owndata
    torch.from_numpy(found.images)[0] = 1  # a private mapping: nothing of it reaches the file
    dataset.release()
    assert np.array_equal(dataset.load().images, IMAGES.images)


def projected():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(IMAGES.images[0].size, 3)))[0].astype(np.float32)
    return replace(IMAGES, projection=Projection(basis=basis, centre=np.full(len(basis), 0.2, np.float32)))


def test_images_that_are_projected_as_they_are_used_are_those_projected_at_once(everything_is_large):
    late, at_once = seen(projected(), torch.device("cpu")), resident(projected(), torch.device("cpu"))
    assert isinstance(late, Projected)
    chosen = torch.tensor([3, 1400, 7])
    assert torch.allclose(late[chosen], at_once[chosen], atol=1e-6)
    assert torch.allclose(late[10:20], at_once[10:20], atol=1e-6)
    assert len(late) == len(at_once)


def test_a_training_on_them_is_the_same_up_to_rounding(request):
    recipe = TrainingRecipe(epochs=2, batch_size=100, learning_rate=0.02, precision="float32")

    def losses() -> list[float]:
        training = fit_named("tiny_cnn", projected(), IMAGES, like=IMAGES, recipe=recipe, seed=0, device="cpu")
        return [measured["loss"] for measured in list(training)[-1].history]

    small = losses()
    request.getfixturevalue("everything_is_large")
    assert losses() == pytest.approx(small, rel=1e-3)


def test_statistics_are_those_of_all_images():
    mean, deviation = channel_statistics(IMAGES)
    pixels = IMAGES.images / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)))
    assert deviation == pytest.approx(pixels.std((0, 2, 3)))
