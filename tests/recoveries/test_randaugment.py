import math

import pytest
import torch
from torchvision.transforms.v2 import RandAugment as Torchvisions
from torchvision.transforms.v2 import functional

from unlearnable.recoveries.randaugment import BLENDS, MOVES, NAMES, SIGNED, STRENGTHLESS, RandAugment, _table, draw_operation, operated_

WITHOUT_TIES = (0, 3, 9, 30)  # at others a pixel may come from between two, or be a threshold: theirs round the strength to float32
PUBLISHED = {name.lower(): name for name in Torchvisions._AUGMENTATION_SPACE}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(size, *, side=17, channels=3):
    return torch.rand(size, channels, side, side + 3, generator=generator(9))


def of_ours(name, batch, magnitude):
    """What ours does with the magnitude, which is negative where the sign was drawn so."""
    changes, numbers = _table(tuple(batch.shape[1:]))
    place = NAMES.index(name)
    drawn = changes[place].expand(len(batch), -1), numbers[place, magnitude + 30].expand(len(batch), -1)
    return operated_(batch.clone(), *drawn)


def transformed(recovery, batch, own):
    return recovery.transform(batch, recovery.draw(len(batch), tuple(batch.shape[1:]), own))


def of_torchvision(name, batch, magnitude):
    """What torchvision's class does with the magnitude, which is negative where the sign was drawn so."""
    published = PUBLISHED[name.replace("_", "")]
    make, signed = Torchvisions._AUGMENTATION_SPACE[published]
    magnitudes = make(31, *batch.shape[2:])
    assert signed == (name in SIGNED)
    value = 0.0 if magnitudes is None else float(magnitudes[abs(magnitude)]) * (-1 if magnitude < 0 else 1)
    return Torchvisions()._apply_image_or_video_transform(batch, published, value, "nearest", {torch.Tensor: None})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_torchvisions(name, channels):
    """Bit for bit, but that a blend may be rounded once where theirs is rounded twice."""
    batch = torch.cat(
        [images(2, channels=channels), (images(2, channels=channels) * 255).round() / 255, torch.full((1, channels, 17, 20), 0.3)]
    )
    tolerance = 1e-6 if name in (*BLENDS, "sharpness") else 0
    magnitudes = range(31) if name in (*BLENDS, "sharpness", "posterize", *STRENGTHLESS) else WITHOUT_TIES
    for magnitude in (*magnitudes, *[-magnitude for magnitude in magnitudes]) if name in SIGNED else magnitudes:
        difference = of_ours(name, batch, magnitude) - of_torchvision(name, batch, magnitude)
        assert difference.abs().max() <= tolerance, magnitude


def moved_by_torchvision(name, batch, strength):
    height, width = batch.shape[2:]
    shear = math.degrees(math.atan(0.3 * strength))
    move = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    if name == "rotate":
        return functional.rotate(batch, 30 * strength)
    if name.startswith("shear"):
        return functional.affine(batch, **move | {"shear": [shear, 0.0] if name == "shear_x" else [0.0, shear], "center": [0, 0]})
    shift = [int(150 / 331 * width * strength), 0] if name == "translate_x" else [0, int(150 / 331 * height * strength)]
    return functional.affine(batch, **move | {"translate": shift})


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 48)])
@pytest.mark.parametrize("name", MOVES)
def test_each_move_is_torchvisions_to_the_pixel(name, shape):
    """But for lines that a shear moves by n + 1/2 pixels: which neighbour is nearer there is the rounding of the processor's."""
    batch = torch.rand(2, *shape, generator=generator(2))
    for magnitude in range(-30, 31):
        kept = lines_without_ties(name, shape, magnitude / 30)
        ours, theirs = (
            moved.masked_select(kept) for moved in (of_ours(name, batch, magnitude), moved_by_torchvision(name, batch, magnitude / 30))
        )
        assert torch.equal(ours, theirs), magnitude


def lines_without_ties(name, shape, strength):
    """Return bool (H, 1) or (1, W): whether a shear moves a row or column by anything but n + 1/2 pixels; no more than 1 in 4 is a tie."""
    _, height, width = shape
    if not name.startswith("shear"):
        return torch.ones(height, 1, dtype=torch.bool)
    moved = 0.3 * strength * (torch.arange(height if name == "shear_x" else width, dtype=torch.float64) + 0.5)
    kept = (moved % 1 - 0.5).abs() > 1e-6
    assert kept.float().mean() >= 0.75
    return kept.view((-1, 1) if name == "shear_x" else (1, -1))


def test_the_operations_are_torchvisions():
    assert sorted(name.replace("_", "") for name in NAMES) == sorted(PUBLISHED)


def test_each_image_gets_the_operation_and_the_magnitude_that_were_drawn_for_it():
    """Together or one by one is the same, sign by sign."""
    batch, operations = images(140), torch.arange(140) % 14
    magnitudes = torch.arange(140) % 31
    signs = torch.randint(2, (140,), generator=generator(1)) * 2 - 1
    draws = draw_operation(operations, magnitudes, (3, 17, 20), generator(1))
    changed = operated_(batch.clone(), draws["changes"], draws["numbers"])
    for place in range(140):
        name = NAMES[operations[place]]
        magnitude = int(magnitudes[place] * (signs[place] if name in SIGNED else 1))
        assert torch.equal(changed[place], of_ours(name, batch[place : place + 1], magnitude)[0]), (name, magnitude)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_an_image_becomes_the_same_whatever_the_others_are(name, channels):
    batch = images(3, channels=channels)
    assert torch.equal(of_ours(name, batch, 21)[:1], of_ours(name, batch[:1], 21))


def test_what_is_drawn_has_shapes_that_do_not_depend_on_it():
    shapes = [{name: drawn.shape for name, drawn in RandAugment().draw(8, (3, 17, 20), generator(seed)).items()} for seed in range(4)]
    assert shapes == [{"changes": (8, 2, 7), "numbers": (8, 2, 6)}] * 4


@pytest.mark.parametrize("name", STRENGTHLESS)
def test_operations_without_a_strength_have_none(name):
    batch = images(4)
    assert torch.equal(of_ours(name, batch, 0), of_ours(name, batch, 30))


def test_every_operation_comes_up_equally_often(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "unlearnable.recoveries.randaugment.draw_operation", lambda operations, *_: seen.append(operations) or {"numbers": operations}
    )
    RandAugment(num_ops=3).draw(2800, (3, 1, 4), generator())
    assert len(seen) == 3
    assert (torch.bincount(torch.cat(seen), minlength=14) / 8400 - 1 / 14).abs().max() < 0.012
    assert not torch.equal(seen[0], seen[1])


def test_tiny_images_are_augmented_too():
    assert transformed(RandAugment(num_ops=20), images(64, side=1), generator()).shape == (64, 3, 1, 4)


def test_what_leaves_the_range_is_clipped_and_the_input_stays():
    batch = images(64) * 3 - 1
    before = batch.clone()
    changed = transformed(RandAugment(magnitude=30), batch, generator())
    assert (changed.min() >= 0, changed.max() <= 1) == (True, True)
    assert torch.equal(batch, before)
    assert torch.equal(changed, transformed(RandAugment(magnitude=30), batch.clamp(0, 1), generator()))


def test_magnitudes_matter():
    batch = images(64)
    weak, strong = (transformed(RandAugment(magnitude=magnitude), batch, generator()) for magnitude in (1, 20))
    assert (strong - batch).abs().mean() > 1.5 * (weak - batch).abs().mean()
