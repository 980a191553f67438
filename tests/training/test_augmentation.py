import itertools

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from unlearnable.training.augmentation import _changed, augment, draw, draw_cutmix
from unlearnable.training.recipe import Augmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(64, 3, 16, 16, generator=generator())


def test_nothing_asked_for_is_nothing_done(images):
    assert torch.equal(augment(images, Augmentation(), generator()), images)


def test_a_crop_is_a_window_of_the_padded_image(images):
    cropped = augment(images, Augmentation(crop=2), generator())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    found = set()
    for image, whole in zip(cropped, padded, strict=True):
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(whole[:, y : y + 16, x : x + 16], image)]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) > 15  # of 25 places: every image has a draw of its own


def test_half_of_the_images_are_mirrored(images):
    flipped = augment(images, Augmentation(flip=True), generator())
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(flipped, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(flipped, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_every_image_is_rotated_sheared_and_scaled_by_itself():
    dot = torch.zeros(200, 1, 33, 33)
    dot[:, :, 16, 28] = 1
    dot = torch.nn.functional.max_pool2d(dot, 5, 1, 2)
    moved = augment(dot, Augmentation(rotation=10, scale=0.2), generator())
    centres = [torch.nonzero(image[0]).float().mean(0) for image in moved]
    radii = torch.stack([(centre - 16).norm() for centre in centres])
    angles = torch.stack([torch.atan2(centre[0] - 16, centre[1] - 16) for centre in centres]).rad2deg()
    assert 12 * 0.75 < radii.min() < 12 * 0.87
    assert radii.max() > 12 * 1.1
    assert 8 < angles.abs().max() < 12
    assert angles.min() < 0 < angles.max()


def test_jitter_is_torchvisions_arithmetic(images):
    """With a factor for the whole batch, against torchvision's functions in the same order, clipping as they do."""
    from torchvision.transforms.v2 import functional as F

    draws = torch.rand(3, 1, generator=generator(5)).mul(2).sub(1) * torch.tensor([[0.2], [0.3], [0.4]])
    recipe = Augmentation(brightness=0.2, contrast=0.3, saturation=0.4, clip_jitter=True)
    expected = images[:1]
    for function, factor in zip((F.adjust_brightness, F.adjust_contrast, F.adjust_saturation), draws[:, 0], strict=True):
        expected = function(expected, float(1 + factor))
    assert torch.allclose(augment(images[:1], recipe, generator(5)), expected, atol=2e-4)


def test_the_order_of_a_jitter_is_each_images_own(images):
    """With a factor for the whole batch, against torchvision's functions in each of their six orders."""
    from torchvision.transforms.v2 import functional as F

    functions, factors = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation), (1.36, 0.7, 1.3)
    orders = list(itertools.permutations(range(3)))
    strengths = torch.tensor(factors).view(3, 1, 1, 1, 1)
    jittered = _changed(images[:1].expand(6, -1, -1, -1), strengths, torch.tensor(orders).T, (0.0, 1.0))
    for order, found in zip(orders, jittered, strict=True):
        expected = images[:1]
        for place in order:
            expected = functions[place](expected, factors[place])
        assert torch.allclose(found, expected[0], atol=2e-4)


def test_a_jitter_draws_every_order_where_asked_for():
    orders = draw(Augmentation(brightness=0.1, shuffle_jitter=True), 64, (3, 16, 16), generator())["orders"]
    assert {tuple(order) for order in orders.T.tolist()} == set(itertools.permutations(range(3)))


def test_rotation_and_shear_leave_as_much_black_as_torchvisions_two_transforms():
    white = torch.ones(600, 1, 32, 32)
    ours = augment(white, Augmentation(rotation=10, shear=10, scale=0.2), generator())
    theirs = v2.Compose([v2.RandomRotation(10), v2.RandomAffine(0, shear=10, scale=(0.8, 1.2))])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        black = torch.stack([theirs(image) for image in white]).eq(0).float().mean()
    assert float(ours.eq(0).float().mean()) == pytest.approx(float(black), abs=0.008)


def test_jitter_clips_only_where_asked_for(images):
    outside = images * 2 - 0.5
    strengths = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
    free = augment(outside, Augmentation(**strengths), generator())
    clipped = augment(outside, Augmentation(**strengths, clip_jitter=True), generator())
    assert free.min() < 0
    assert free.max() > 1
    assert clipped.min() >= 0
    assert clipped.max() <= 1


def test_grey_images_are_jittered_too():
    grey = torch.rand(4, 1, 8, 8, generator=generator())
    assert augment(grey, Augmentation(brightness=0.2, contrast=0.2, saturation=0.2), generator()).shape == grey.shape


def test_cutmix_keeps_what_it_says(images):
    kept_sum = 0.0
    for seed in range(50):
        drawn = draw_cutmix(1.0, len(images), images.shape[1:], generator(seed))
        order, kept = drawn["order"], float(drawn["shares"][0])
        mixed = torch.where(drawn["box"], images[order], images)
        same = (mixed == images).all(1).double().mean((1, 2))
        pasted = (mixed == images[order]).all(1).double().mean((1, 2))
        others = order != torch.arange(len(images))
        assert torch.allclose(same[others], torch.full_like(same[others], kept))
        assert torch.allclose(pasted[others], torch.full_like(same[others], 1 - kept))
        kept_sum += kept
    assert 0.4 < kept_sum / 50 < 0.75  # beta 1, less what the border cuts off: torchvision's own box gives 0.6


def test_cutmix_cuts_as_much_as_torchvisions(images):
    torch_kept = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(300):
            _, labels = v2.CutMix(num_classes=64)(images, torch.arange(64))
            torch_kept.append(float(labels.max()))
    ours = [float(draw_cutmix(1.0, len(images), images.shape[1:], generator(seed))["shares"].max()) for seed in range(300)]
    assert np.mean(ours) == pytest.approx(np.mean(torch_kept), abs=0.03)


def test_the_draws_are_the_generators_own(images, global_generators_untouched):
    recipe = Augmentation(
        crop=2, flip=True, rotation=5, shear=5, scale=0.1, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, resized_crop=0.2
    )
    assert torch.equal(augment(images, recipe, generator(1)), augment(images, recipe, generator(1)))
    assert not torch.equal(augment(images, recipe, generator(1)), augment(images, recipe, generator(2)))


def test_a_resized_crop_is_a_part_of_the_image():
    """On a ramp, what is seen is a ramp: its slope tells the part's side, its ends where it lies."""
    ramp = (torch.arange(64.0) + 0.5) / 64
    images = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)]).expand(500, 2, 64, 64).contiguous()
    seen = augment(images, Augmentation(resized_crop=0.08), generator())
    inner = seen[:, :, 8:-8, 8:-8]  # at the border a part's last half pixel is repeated
    across, down = inner[:, 0].diff(dim=2), inner[:, 1].diff(dim=1)
    for slopes in (across, down):
        assert torch.allclose(slopes, slopes.flatten(1)[:, :1, None].expand_as(slopes), atol=1e-4)
    width, height = across.flatten(1)[:, 0] * 64, down.flatten(1)[:, 0] * 64
    area, shape = width * height, width / height
    assert 0.08 - 1e-3 <= area.min() < 0.1
    assert area.max() <= 1 + 1e-3
    assert 3 / 4 - 1e-3 <= shape.min() < 0.78
    assert 1.28 < shape.max() <= 4 / 3 + 1e-3
    centres = inner.mean((2, 3))
    for centre, side in zip(centres.T, (width, height), strict=True):
        assert (centre - side / 2).min() > -0.01  # no part leaves the image
        assert (1 - side / 2 - centre).min() > -0.01
        assert centre.std() > 0.1


def test_hue_turns_colours_about_the_greys(images):
    turned = augment(images, Augmentation(hue=0.5), generator())
    assert torch.allclose(turned.sum(1), images.sum(1), atol=1e-5)
    assert torch.allclose(turned.norm(dim=1), images.norm(dim=1), atol=1e-5)
    assert not torch.allclose(turned, images, atol=0.01)
    assert torch.allclose(
        augment(images.mean(1, keepdim=True).expand_as(images), Augmentation(hue=0.5), generator()), images.mean(1, keepdim=True), atol=1e-5
    )
    assert torch.equal(augment(images[:, :1], Augmentation(hue=0.5), generator()), images[:, :1])


def test_a_third_of_a_turn_moves_red_to_green_to_blue(images, monkeypatch):
    monkeypatch.setattr("torch.rand", lambda *_, **__: torch.full((len(images),), 2 / 3))  # a third of the way from the middle up
    assert torch.allclose(augment(images, Augmentation(hue=1.0), generator()), images.roll(1, dims=1), atol=1e-5)
