import pytest
import torch
from torchvision.transforms.v2 import RandAugment as Torchvisions

from unlearnable.recoveries.randaugment import NAMES, OPERATIONS, SIGNED, STRENGTHLESS, RandAugment, operated

PUBLISHED = {name.lower(): name for name in Torchvisions._AUGMENTATION_SPACE}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(size, *, side=17, channels=3):
    return torch.rand(size, channels, side, side + 3, generator=generator(9))


def of_torchvision(name, batch, magnitude):
    """What torchvision's class does with the magnitude, which is negative where the sign was drawn so."""
    published = PUBLISHED[name.replace("_", "")]
    make, signed = Torchvisions._AUGMENTATION_SPACE[published]
    magnitudes = make(31, *batch.shape[2:])
    assert signed == (name in SIGNED)
    value = 0.0 if magnitudes is None else float(magnitudes[abs(magnitude)]) * (-1 if magnitude < 0 else 1)
    return Torchvisions()._apply_image_or_video_transform(batch, published, value, "nearest", {torch.Tensor: None})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_torchvisions(name, channels):
    batch = images(4, channels=channels)
    for magnitude in (0, 3, 9, 30, *((-9, -30) if name in SIGNED else ())):
        assert torch.allclose(OPERATIONS[name](batch, magnitude / 30), of_torchvision(name, batch, magnitude), atol=1e-6)


def test_the_operations_are_torchvisions():
    assert sorted(name.replace("_", "") for name in NAMES) == sorted(PUBLISHED)


def test_each_image_gets_the_operation_and_the_magnitude_that_were_drawn_for_it():
    """Together or one by one is the same, sign by sign."""
    batch, operations = images(140), torch.arange(140) % 14
    magnitudes = torch.arange(140) % 31
    signs = torch.randint(2, (140,), generator=generator(1)) * 2 - 1
    changed = operated(batch, operations, magnitudes, generator(1))
    for place in range(140):
        name = NAMES[operations[place]]
        strength = float(magnitudes[place] * (signs[place] if name in SIGNED else 1)) / 30
        assert torch.equal(changed[place], OPERATIONS[name](batch[place : place + 1], strength)[0]), (name, strength)


@pytest.mark.parametrize("name", STRENGTHLESS)
def test_operations_without_a_strength_have_none(name):
    batch = images(4)
    assert torch.equal(OPERATIONS[name](batch, 0.0), OPERATIONS[name](batch, 1.0))


def test_every_operation_comes_up_equally_often(monkeypatch):
    seen = []
    monkeypatch.setattr("unlearnable.recoveries.randaugment.operated", lambda batch, operations, *_: seen.append(operations) or batch)
    RandAugment(num_ops=3).transform(images(2800, side=1), generator())
    assert len(seen) == 3
    assert (torch.bincount(torch.cat(seen), minlength=14) / 8400 - 1 / 14).abs().max() < 0.012
    assert not torch.equal(seen[0], seen[1])


def test_what_leaves_the_range_is_clipped_and_the_input_stays():
    batch = images(64) * 3 - 1
    before = batch.clone()
    changed = RandAugment(magnitude=30).transform(batch, generator())
    assert (changed.min() >= 0, changed.max() <= 1) == (True, True)
    assert torch.equal(batch, before)
    assert torch.equal(changed, RandAugment(magnitude=30).transform(batch.clamp(0, 1), generator()))


def test_magnitudes_matter():
    batch = images(64)
    weak, strong = (RandAugment(magnitude=magnitude).transform(batch, generator()) for magnitude in (1, 20))
    assert (strong - batch).abs().mean() > 1.5 * (weak - batch).abs().mean()
