import math
from dataclasses import replace

import pytest
import torch

from tests.conftest import make_images
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.recoveries import recovery_named
from unlearnable.recoveries.ueraser import UEraserLite, UEraserMax, brightened, contrasted, plasma, shuffled
from unlearnable.training import Trainer, TrainingRecipe, plain_loss

CPU = torch.device("cpu")
NAMES = ("ueraser_lite", "ueraser_max")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def grey(size=200, *, channels=3, height=16, width=16):
    return torch.full((size, channels, height, width), 0.5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 17), (28, 20), (8, 33), (1, 1)])
def test_a_map_is_in_its_range_and_around_one_half(height, width):
    maps = plasma(grey(height=height, width=width), generator())
    assert maps.shape == (200, 3, height, width)
    assert (maps.min() >= 0, maps.max() <= 1) == (True, True)
    assert maps.mean() == pytest.approx(0.5, abs=0.03)


def test_maps_of_images_and_channels_are_their_own():
    maps = plasma(grey(), generator()).flatten(2)
    assert torch.corrcoef(torch.stack([maps[:, 0].flatten(), maps[:, 1].flatten()]))[0, 1].abs() < 0.1
    assert torch.corrcoef(torch.stack([maps[:-1].flatten(), maps[1:].flatten()]))[0, 1].abs() < 0.1


def test_neighbours_in_a_map_are_alike_and_less_so_where_it_is_rough(monkeypatch):
    """The twin of the test above: noise of every pixel would pass it."""

    def step(roughness):
        monkeypatch.setattr("unlearnable.recoveries.ueraser.ROUGHNESS", (roughness, roughness))
        maps = plasma(grey(height=33, width=33), generator())
        return float((maps[..., 1:] - maps[..., :-1]).square().mean() / (2 * maps.var()))

    smooth, rough, noise = step(0.1), step(0.6), step(1.0)
    assert smooth < 0.05 < rough < 0.7 < noise


def test_without_noise_a_map_is_between_its_corners(monkeypatch):
    monkeypatch.setattr("unlearnable.recoveries.ueraser.ROUGHNESS", (0.0, 0.0))
    maps = plasma(grey(height=5, width=5), generator())
    corners = maps[..., ::4, ::4]
    assert torch.allclose(maps[..., 2, 2], corners.mean((2, 3)))
    assert torch.allclose(maps[..., 0, 2], (corners[..., 0, :].sum(2) + maps[..., 2, 2]) / 3)
    assert torch.allclose(maps[..., 1, 2], (maps[..., 0, 2] + maps[..., 2, 2] + maps[..., 1, 1] + maps[..., 1, 3]) / 4)


def test_brightness_is_moved_both_ways_by_the_published_intensity(monkeypatch):
    moved = brightened(grey(), generator()) - 0.5
    assert -0.5 <= moved.min() < -0.3
    assert 0.3 < moved.max() <= 0.5
    assert moved.mean() == pytest.approx(0, abs=0.03)
    monkeypatch.setattr("unlearnable.recoveries.ueraser.plasma", lambda images, own: torch.ones_like(images))
    intensities = brightened(torch.zeros(200, 1, 1, 1), generator())
    assert 0.5 <= intensities.min() < 0.51
    assert 0.99 < intensities.max() <= 1


def test_contrast_leaves_grey_alone_and_multiplies_distances_by_up_to_four():
    assert torch.equal(contrasted(grey(), generator()), grey())
    factors = (contrasted(grey() + 0.1, generator()) - 0.5) / 0.1
    assert -1e-5 <= factors.min() < 0.5
    assert 3.5 < factors.max() <= 4 + 1e-5
    assert factors.mean() == pytest.approx(2, abs=0.1)


def test_channels_change_places_as_wholes_in_every_order():
    images = torch.arange(3.0).view(1, 3, 1, 1) + torch.rand(600, 3, 4, 4, generator=generator(5)) / 2
    mixed = shuffled(images, generator())
    assert torch.equal(mixed.sort(1)[0], images.sort(1)[0])
    orders, counts = mixed.floor()[:, :, 0, 0].unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 60
    assert (mixed.floor() == mixed.floor()[..., :1, :1]).all()


def test_about_half_of_the_images_get_each_change(monkeypatch):
    """The operation that follows is left out, to see the others."""
    monkeypatch.setattr("unlearnable.recoveries.ueraser._trivially_augmented", lambda images, own: images)
    images = torch.rand(400, 3, 16, 16, generator=generator(3))
    left = [(UEraserLite(probability=p).transform(images, generator()) == images).flatten(1).all(1).sum() for p in (0.0, 0.5, 1.0)]
    assert left[0] == 400
    assert left[1] == pytest.approx(400 * (1 / 8 + 1 / 48), abs=20)  # one of six orders is the one there was
    assert left[2] == 0


@pytest.mark.parametrize("name", NAMES)
def test_it_is_blind_to_the_poison(name):
    """It draws the same whatever the images are, and an image becomes the same whatever the others are."""
    recovery = recovery_named(name, {})
    images = torch.rand(16, 3, 16, 16, generator=generator(3))
    other = torch.cat([images[:8], torch.zeros(8, 3, 16, 16)])
    draws = generator(4), generator(4)
    first, second = (recovery.transform(seen, own) for seen, own in zip((images, other), draws, strict=True))
    assert torch.equal(first[:8], second[:8])
    assert not torch.equal(first[8:], second[8:])
    assert torch.equal(draws[0].get_state(), draws[1].get_state())


def test_what_leaves_the_range_is_clipped_and_the_input_stays():
    images = torch.rand(64, 3, 16, 16, generator=generator(3)) * 3 - 1
    before = images.clone()
    changed = UEraserLite().transform(images, generator())
    assert (changed.min() >= 0, changed.max() <= 1) == (True, True)
    assert torch.equal(images, before)
    assert torch.equal(changed, UEraserLite().transform(images.clamp(0, 1), generator()))


@pytest.fixture
def trainer():
    images = make_images(64, classes=4)
    model = build("tiny_cnn", shape=(3, 32, 32), num_classes=4, seed=0)
    recipe = TrainingRecipe(epochs=1, batch_size=16, learning_rate=0.05, precision="float32")
    return Trainer(model, recipe, channel_statistics(images), CPU)


def batch():
    images = make_images(16, classes=4)
    return torch.from_numpy(images.images).float() / 255, torch.from_numpy(images.labels)


def test_of_each_image_the_view_with_the_largest_loss_is_trained_on(trainer):
    images, labels = batch()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    worst = UEraserMax(repeats=4).worst(trainer, images, labels, generator())
    assert trainer.model.training
    assert all(torch.equal(value, trainer.model.state_dict()[name]) for name, value in before.items())
    own, lite = generator(), UEraserLite()
    views = torch.stack([lite.transform(images, own) for _ in range(4)])
    trainer.model.eval()
    losses = torch.stack([trainer.cross_entropy(trainer.forward(view), labels, reduction="none") for view in views])
    chosen = losses.argmax(0)
    assert len(chosen.unique()) > 1  # of each image, not of the batch
    assert torch.equal(worst, views[chosen, torch.arange(16)])
    trainer.model.train()
    loss = UEraserMax(repeats=4).loss(trainer, images, labels, generator(7), generator())
    assert loss == plain_loss(trainer, worst, labels, generator(7))
    assert loss.requires_grad


def test_one_repeat_is_the_lite_one(trainer):
    images, labels = batch()
    assert torch.equal(UEraserMax(repeats=1).worst(trainer, images, labels, generator()), UEraserLite().transform(images, generator()))


def test_what_they_need():
    assert recovery_named("ueraser_lite", {}).needs.passes == 1
    assert math.isclose(recovery_named("ueraser_max", {"repeats": 6}).needs.passes, 3)
    assert replace(recovery_named("ueraser_max", {}).needs, passes=1.0) == recovery_named("ueraser_lite", {}).needs
