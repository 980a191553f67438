import math
from dataclasses import replace

import pytest
import torch

from tests.conftest import make_images
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.recoveries import recovery_named
from unlearnable.recoveries.ueraser import UEraserLite, UEraserMax, _sides, brightened, contrasted, draw_noise, plasma, shuffled
from unlearnable.training import Trainer, TrainingRecipe, plain_loss

CPU = torch.device("cpu")
NAMES = ("ueraser_lite", "ueraser_max")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def transformed(recovery, images, own):
    return recovery.transform(images, recovery.draw(len(images), tuple(images.shape[1:]), own))


def maps_of(own, *, size=200, channels=3, height=16, width=16, roughness=(0.3, 0.7)):
    low, high = roughness
    noise = torch.zeros(size, channels, sum(side * side for side in _sides(height, width)))
    draw_noise(noise, (channels, height, width), own)
    return plasma(low + (high - low) * torch.rand(size, generator=own), noise, (height, width))


def grey(size=200, *, channels=3, height=16, width=16):
    return torch.full((size, channels, height, width), 0.5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 17), (28, 20), (8, 33), (1, 1)])
def test_a_map_is_in_its_range_and_around_one_half(height, width):
    maps = maps_of(generator(), height=height, width=width)
    assert maps.shape == (200, 3, height, width)
    assert (maps.min() >= 0, maps.max() <= 1) == (True, True)
    assert maps.mean() == pytest.approx(0.5, abs=0.03)


def test_maps_of_images_and_channels_are_their_own():
    maps = maps_of(generator()).flatten(2)
    assert torch.corrcoef(torch.stack([maps[:, 0].flatten(), maps[:, 1].flatten()]))[0, 1].abs() < 0.1
    assert torch.corrcoef(torch.stack([maps[:-1].flatten(), maps[1:].flatten()]))[0, 1].abs() < 0.1


def test_neighbours_in_a_map_are_alike_and_less_so_where_it_is_rough():
    """The twin of the test above: noise of every pixel would pass it."""

    def step(roughness):
        maps = maps_of(generator(), height=33, width=33, roughness=(roughness, roughness))
        return float((maps[..., 1:] - maps[..., :-1]).square().mean() / (2 * maps.var()))

    smooth, rough, noise = step(0.1), step(0.6), step(1.0)
    assert smooth < 0.05 < rough < 0.7 < noise


def test_without_noise_a_map_is_between_its_corners():
    maps = maps_of(generator(), height=5, width=5, roughness=(0.0, 0.0))
    corners = maps[..., ::4, ::4]
    assert torch.allclose(maps[..., 2, 2], corners.mean((2, 3)))
    assert torch.allclose(maps[..., 0, 2], (corners[..., 0, :].sum(2) + maps[..., 2, 2]) / 3)
    assert torch.allclose(maps[..., 1, 2], (maps[..., 0, 2] + maps[..., 2, 2] + maps[..., 1, 1] + maps[..., 1, 3]) / 4)


def test_maps_are_as_rough_and_brightness_as_strong_as_published():
    draws = UEraserLite(probability=1).draw(400, (1, 4, 4), generator())
    for drawn, low, high in ((draws["roughness"], 0.3, 0.7), (draws["intensity"], 0.5, 1.0)):
        assert low <= drawn.min() < low + 0.01
        assert high - 0.01 < drawn.max() <= high


def test_brightness_is_moved_both_ways_by_its_intensity():
    maps = maps_of(generator())
    moved = brightened(grey(), maps, torch.full((200,), 0.75)) - 0.5
    assert torch.allclose(moved, (0.75 * (2 * maps - 1)).clamp(-0.5, 0.5), atol=1e-6)
    assert -0.5 <= moved.min() < -0.3
    assert 0.3 < moved.max() <= 0.5
    assert moved.mean() == pytest.approx(0, abs=0.03)


def test_contrast_leaves_grey_alone_and_multiplies_distances_by_up_to_four():
    maps = maps_of(generator())
    assert torch.equal(contrasted(grey(), maps), grey())
    factors = (contrasted(grey() + 0.1, maps) - 0.5) / 0.1
    assert -1e-5 <= factors.min() < 0.5
    assert 3.5 < factors.max() <= 4 + 1e-5
    assert factors.mean() == pytest.approx(2, abs=0.1)


def test_channels_change_places_as_wholes_in_every_order():
    images = torch.arange(3.0).view(1, 3, 1, 1) + torch.rand(600, 3, 4, 4, generator=generator(5)) / 2
    mixed = shuffled(images, UEraserLite(probability=1).draw(600, (3, 4, 4), generator())["order"])
    assert torch.equal(mixed.sort(1)[0], images.sort(1)[0])
    orders, counts = mixed.floor()[:, :, 0, 0].unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 60
    assert (mixed.floor() == mixed.floor()[..., :1, :1]).all()


def test_about_half_of_the_images_get_each_change(monkeypatch):
    """The operation that follows is left out, to see the others."""
    monkeypatch.setattr("unlearnable.recoveries.ueraser.operated_", lambda images, *_: images)
    images = torch.rand(400, 3, 16, 16, generator=generator(3))
    left = [(transformed(UEraserLite(probability=p), images, generator()) == images).flatten(1).all(1).sum() for p in (0.0, 0.5, 1.0)]
    assert left[0] == 400
    assert left[1] == pytest.approx(400 * (1 / 8 + 1 / 48), abs=20)  # one of six orders is the one there was
    assert left[2] == 0


def test_each_change_has_a_map_of_its_own():
    draws = UEraserMax().draw(8, (3, 16, 16), generator())
    used = torch.cat([draws[f"{change}/map"][draws[change]] for change in ("brightness", "contrast")])
    assert len(used.unique()) == len(used) > 20
    assert (draws["noise"][used] > 0).any(2).all()
    empty = torch.ones(len(draws["noise"]), dtype=torch.bool).index_fill_(0, used, False)
    assert not draws["noise"][empty].any()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_has_shapes_that_do_not_depend_on_it(name):
    draws = [recovery_named(name, {}).draw(8, (3, 16, 16), generator(seed)) for seed in range(4)]
    shapes = [{kind: drawn.shape for kind, drawn in each.items()} for each in draws]
    assert shapes == shapes[:1] * 4
    assert len({int(each["brightness"].sum()) for each in draws}) > 1


def test_an_image_becomes_the_same_whatever_the_others_are():
    images = torch.rand(16, 3, 16, 16, generator=generator(3))
    other = torch.cat([images[:8], torch.zeros(8, 3, 16, 16)])
    first, second = (transformed(UEraserLite(), seen, generator(4)) for seen in (images, other))
    assert torch.equal(first[:8], second[:8])
    assert not torch.equal(first[8:], second[8:])


def test_what_leaves_the_range_is_clipped_and_the_input_stays():
    images = torch.rand(64, 3, 16, 16, generator=generator(3)) * 3 - 1
    before = images.clone()
    changed = transformed(UEraserLite(), images, generator())
    assert (changed.min() >= 0, changed.max() <= 1) == (True, True)
    assert torch.equal(images, before)
    assert torch.equal(changed, transformed(UEraserLite(), images.clamp(0, 1), generator()))


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
    of_four = UEraserMax(repeats=4)
    draws = of_four.draw(16, tuple(images.shape[1:]), generator())
    worst = of_four.worst(trainer, images, labels, draws)
    assert trainer.model.training
    assert all(torch.equal(value, trainer.model.state_dict()[name]) for name, value in before.items())
    own, lite = generator(), UEraserLite()
    views = torch.stack([transformed(lite, images, own) for _ in range(4)])
    assert torch.equal(of_four.transform(images.repeat(4, 1, 1, 1), draws), views.flatten(0, 1))  # at once, as on a GPU
    trainer.model.eval()
    losses = torch.stack([trainer.cross_entropy(trainer.forward(view), labels, reduction="none") for view in views])
    chosen = losses.argmax(0)
    assert len(chosen.unique()) > 1  # of each image, not of the batch
    assert torch.equal(worst, views[chosen, torch.arange(16)])
    trainer.model.train()
    loss = of_four.loss(trainer, images, labels, {}, draws)
    assert loss == plain_loss(trainer, worst, labels, {}, {})
    assert loss.requires_grad


def test_one_repeat_is_the_lite_one(trainer):
    images, labels = batch()
    draws = UEraserLite().draw(16, tuple(images.shape[1:]), generator())
    assert torch.equal(UEraserMax(repeats=1).worst(trainer, images, labels, draws), UEraserLite().transform(images, draws))


def test_what_they_need():
    assert recovery_named("ueraser_lite", {}).needs.passes == 1
    assert math.isclose(recovery_named("ueraser_max", {"repeats": 6}).needs.passes, 3)
    assert replace(recovery_named("ueraser_max", {}).needs, passes=1.0) == recovery_named("ueraser_lite", {}).needs
