"""Budgets: what the settings of a poison say, and that the crafting holds to it."""

import numpy as np
import pytest

from tests.poisons.test_battery import BUDGETS
from unlearnable.errors import InputError
from unlearnable.poisons import POISONS, Crafting, budget_named, craft, is_made_at_any_size
from unlearnable.poisons.budget import Budget
from unlearnable.poisons.own_size import Protection, resized
from unlearnable.signatures import defaults_of, settings_of

LEVEL = 1 / 255


@pytest.mark.parametrize("name", sorted(set(BUDGETS) - {"cuda"}))
def test_the_settings_of_each_poison_say_its_budget(name):
    """The table of the battery says it too, after rounding."""
    settings, kind, most = BUDGETS[name]
    found = budget_named(name, settings)
    expected = {"linf": most if kind.startswith("linf") else 0.0 if kind == "l0" else None, "l2": 1.0 if kind == "l2" else None}
    assert (found.linf, found.l2, found.pixels) == (expected["linf"], expected["l2"], int(name in ("ops", "ops_plus_em")))


def test_a_convolution_has_none():
    assert budget_named("cuda", {}) == Budget()


def test_what_is_not_given_is_as_published():
    assert budget_named("hypo", {"attack": {"steps": 1}}).linf == pytest.approx(8 / 255)
    assert budget_named("lsp", {}).l2 == pytest.approx(1.304, abs=5e-4)
    assert budget_named("rem", {}).linf == pytest.approx(8 / 255)  # of the noise, not of its adversary


@pytest.fixture
def liar(monkeypatch):
    """Register a poison that goes a level beyond what it says, in one pixel of one image."""
    monkeypatch.setattr(POISONS, "_known", dict(POISONS._known))

    @POISONS.add("liar")
    def liar(clean, crafting, *, linf: float = 4 * LEVEL):
        perturbation = np.full(clean.images.shape, linf, np.float32)
        perturbation[7, 1, 3, 5] += 1.01 * LEVEL
        return perturbation


@pytest.mark.parametrize(("linf", "told"), [(4.0, "at most 4 levels (Linf), got 5"), (3.6, "at most 3.6 levels (Linf), got 5")])
def test_a_poison_that_exceeds_its_budget_is_refused_where_it_is_crafted(liar, clean, linf, told):
    with pytest.raises(InputError) as error:
        craft("liar", clean, Crafting(), settings={"linf": linf * LEVEL})
    assert str(error.value) == f"poison 'liar': expected a change of {told}"


@pytest.mark.parametrize(
    ("budget", "change", "holds"),
    [
        (Budget(linf=7.65 * LEVEL), [8, 8, 8, 8], True),  # rounding may add half a level
        (Budget(linf=7.65 * LEVEL), [9, 0, 0, 0], False),
        (Budget(linf=8 * LEVEL), [8, -8, 8, 8], True),
        (Budget(linf=8 * LEVEL), [0, -9, 0, 0], False),
        (Budget(linf=0.0), [1, 0, 0, 0], False),
        (Budget(linf=0.0, pixels=1), [100, 0, 0, 0], True),
        (Budget(linf=0.0, pixels=1), [100, 1, 0, 0], False),
        (Budget(linf=2 * LEVEL, pixels=1), [100, 2, 2, 2], True),
        (Budget(linf=2 * LEVEL, pixels=1), [100, 100, 2, 2], False),
        (Budget(linf=0.0, pixels=4), [100, 100, 100, 100], True),
        (Budget(l2=10 * LEVEL), [6, 6, 6, 3], True),  # 10.8 levels, of which rounding may add sqrt(4) / 2
        (Budget(l2=10 * LEVEL), [7, 7, 7, 0], False),
        (Budget(), [255, 255, 255, 255], True),
    ],
)
def test_a_budget_is_that_of_each_image_and_rounding_is_beside_it(budget, change, holds):
    before = np.full((3, 1, 2, 2), 128, np.uint8)
    after = before.copy().astype(int)
    after[1, 0] += np.clip(np.array(change).reshape(2, 2), -128, 127)
    assert (budget.excess(before, after.astype(np.uint8)) is None) == holds


# ---- any size


def test_flat_areas_grow_and_are_mirrored_beyond_the_square():
    pattern = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    grown = resized(pattern, 4, 8, flat=True)[0]
    middle = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    assert np.array_equal(grown[:, 2:6], middle)
    assert np.array_equal(grown[:, :2], middle[:, 1::-1])
    assert np.array_equal(grown[:, 6:], middle[:, :1:-1])
    assert np.array_equal(resized(pattern.transpose(0, 2, 1), 8, 4, flat=True)[0], grown.T)


def test_noise_is_interpolated_and_stays_in_its_bound():
    noise = np.random.default_rng(0).choice([-1, 1], size=(3, 16, 16)).astype(np.float32)
    for height, width in ((16, 16), (40, 30), (9, 100)):
        found = resized(noise, height, width, flat=False)
        assert found.shape == (3, height, width)
        assert np.abs(found).max() <= 1 + 1e-6
    assert np.array_equal(resized(noise, 16, 16, flat=False), noise)
    halves = resized(noise, 32, 32, flat=False).reshape(3, 16, 2, 16, 2).mean((2, 4))
    assert np.corrcoef(halves.ravel(), noise.ravel())[0, 1] > 0.9  # whatever makes the image smaller again sees it


def protection(poison: str, perturbation: np.ndarray, settings: dict) -> Protection:
    return Protection(perturbation=perturbation[None], ids=np.array([7]), poison=poison, settings=settings, seed=0)


def test_a_shortcut_of_one_pixel_becomes_the_area_that_it_covers():
    perturbation = np.zeros((3, 8, 8), np.float32)
    perturbation[:, 2, 3] = 0.5
    image = np.full((3, 32, 24), 100, np.uint8)
    changed = protection("ops", perturbation, {}).apply(7, image) != image
    assert changed.all(0).sum() == 9
    assert changed[0, 10:13, 9:12].all()  # the square of 24 pixels starts 4 pixels down


def test_a_norm_grows_with_the_root_of_the_pixels_and_what_is_mirrored_does_not_exceed_it():
    perturbation = np.zeros((3, 8, 8), np.float32)
    perturbation[:, :, 0] = 0.1  # the edge that a wide image mirrors
    l2 = float(np.linalg.norm(perturbation))
    image = np.full((3, 32, 48), 100, np.uint8)
    change = protection("lsp", perturbation, {"l2": l2}).apply(7, image).astype(float) - image
    allowed = l2 * 255 * np.sqrt(32 * 48) / 8
    assert 0.9 * allowed < np.linalg.norm(change) <= allowed + 0.5 * np.sqrt(image.size)


def test_a_perturbation_beyond_its_settings_is_refused_at_full_size_too():
    image = np.full((3, 20, 20), 100, np.uint8)
    with pytest.raises(InputError, match=r"poison 'pil': expected a change of at most 2 levels \(Linf\), got 4"):
        protection("pil", np.full((3, 8, 8), 4 * LEVEL, np.float32), {"linf": 2 * LEVEL}).apply(7, image)


def test_noise_of_a_network_is_resized():
    flat = {name for name in POISONS if is_made_at_any_size(name)}
    assert {"lsp", "ops", "patches_4"} <= flat
    assert not any("surrogate" in defaults_of(settings_of(POISONS[name])) for name in flat - {"ops_plus_em"})
