"""One battery over everything registered: a new poison adds a row to BUDGETS."""

import hashlib

import numpy as np
import pytest

from tests.conftest import ROOT, make_images
from unlearnable.errors import InputError
from unlearnable.poisons import POISONS, Crafting, apply, craft
from unlearnable.signatures import settings_of
from unlearnable.training import device as devices

LEVEL = 1 / 255
# name -> settings, norm and budget of the perturbation after rounding (half a level a pixel for L2)
EIGHT = 8 / 255
ROUNDED = 1.0 + 0.5 * LEVEL * np.sqrt(3 * 16 * 16)
SURROGATE = {"model": "tiny_cnn", "batch_size": 20, "learning_rate": 0.05}
NOISE = {"linf": EIGHT, "step": EIGHT / 3, "steps": 4, "train_batches": 2, "rounds": 2}
ATTACK = {"linf": EIGHT, "step": EIGHT / 3, "steps": 5, "restarts": 2, "shift": 3.0}
BUDGETS = {
    "none": ({}, "linf", 0.0),
    "aap": ({"surrogate": SURROGATE, "epochs": 1, "attack": {"linf": EIGHT, "step": EIGHT, "steps": 1}}, "linf", EIGHT),
    "aue": ({"surrogate": SURROGATE, "epochs": 2, "noise": {"linf": EIGHT, "step": EIGHT, "steps": 1}}, "linf", EIGHT),
    "bait": ({"surrogate": SURROGATE, "rounds": 1, "generator": {"width": 1, "blocks": 1, "learning_rate": 0.01}}, "linf", EIGHT),
    "em_classwise": ({"surrogate": SURROGATE, "noise": NOISE}, "linf", EIGHT),
    "em_samplewise": ({"surrogate": SURROGATE, "noise": NOISE}, "linf", EIGHT),
    "error_max": ({"surrogate": SURROGATE, "epochs": 2, "attack": ATTACK}, "linf", EIGHT),
    "hypo": ({"surrogate": SURROGATE, "epochs": 2, "attack": ATTACK}, "linf", EIGHT),
    "mi_ue": ({"surrogate": SURROGATE, "epochs": 2, "noise": {"linf": EIGHT, "step": EIGHT, "steps": 1}}, "linf", EIGHT),
    "ntga": ({"linf": EIGHT, "step": EIGHT / 2, "steps": 3, "block_size": 25}, "linf", EIGHT),
    "ops_plus_em": ({"surrogate": SURROGATE, "noise": NOISE}, "linf but for one pixel", EIGHT),
    "pil": ({"linf": EIGHT, "step": EIGHT / 5, "epochs": 2, "steps": 7, "batch_size": 25}, "linf", EIGHT),
    "rem": (
        {
            "surrogate": SURROGATE,
            "train_steps": 3,
            "defender": {"linf": EIGHT, "step": EIGHT / 2, "steps": 3},
            "adversary": {"linf": EIGHT / 2, "step": EIGHT / 2, "steps": 1},
            "transformations": 2,
        },
        "linf",
        EIGHT,
    ),
    "sep": (
        {"surrogate": SURROGATE, "epochs": 1, "checkpoints": 1, "draws": 1, "noise": {"linf": EIGHT / 4, "step": EIGHT / 4, "steps": 1}},
        "linf",
        EIGHT / 4,
    ),
    "tap": ({"surrogate": SURROGATE, "epochs": 2, "attack": ATTACK}, "linf", EIGHT),
    "ar": ({"l2": 1.0, "search": {}}, "l2", ROUNDED),
    "ar_linf": ({"linf": EIGHT, "search": {}}, "linf", EIGHT),
    "classwise_random": ({"linf": EIGHT}, "linf", EIGHT),
    "cuda": ({"blur": 0.3}, "linf", 1.0),
    "l2_regions_4": ({"l2": 1.0}, "l2", ROUNDED),
    "lsp": ({"l2": 1.0}, "l2", ROUNDED),
    "ops": ({}, "l0", 1),
    "patches_4": ({"linf": EIGHT}, "linf", EIGHT),
    "patches_8": ({"linf": EIGHT}, "linf", EIGHT),
    "regions_16": ({"linf": EIGHT}, "linf", EIGHT),
    "regions_4": ({"linf": EIGHT}, "linf", EIGHT),
    "regions_64": ({"linf": EIGHT}, "linf", EIGHT),
    "sign_regions_16": ({"linf": EIGHT}, "linf", EIGHT),
    "sign_regions_4": ({"linf": EIGHT}, "linf", EIGHT),
    "sign_regions_64": ({"linf": EIGHT}, "linf", EIGHT),
}


def norms(difference, kind):
    flat = difference.reshape(len(difference), -1)
    if kind == "linf":
        return np.abs(flat).max(1)
    if kind == "l2":
        return np.sqrt(np.square(flat).sum(1))
    if kind == "l0":
        return (difference != 0).any(1).reshape(len(difference), -1).sum(1)
    pixels = np.abs(difference).max(1).reshape(len(difference), -1)
    return np.sort(pixels, axis=1)[:, -2]


def test_every_poison_has_a_row():
    assert set(BUDGETS) == set(POISONS)


@pytest.mark.parametrize("name", POISONS)
def test_it_is_reproducible_and_leaves_everything_else_alone(name, clean, global_generators_untouched):
    settings, _, _ = BUDGETS[name]
    before = hashlib.sha256(clean.images.tobytes()).hexdigest()
    poisoned, again = (craft(name, clean, Crafting(seed=3), settings=settings) for _ in range(2))
    assert np.array_equal(poisoned.images, again.images)
    assert hashlib.sha256(clean.images.tobytes()).hexdigest() == before
    assert np.array_equal(poisoned.labels, clean.labels)
    assert poisoned.num_classes == clean.num_classes


@pytest.mark.parametrize("name", POISONS)
def test_it_stays_in_its_budget_after_rounding(name, clean):
    settings, kind, budget = BUDGETS[name]
    poisoned = craft(name, clean, Crafting(seed=3), settings=settings)
    difference = (poisoned.images.astype(float) - clean.images) / 255
    assert norms(difference, kind).max() <= budget + 1e-9
    if name != "none":
        assert norms(difference, kind).max() > 0


@pytest.mark.parametrize("name", sorted(set(POISONS) - {"none", "ops"}))
def test_another_seed_is_another_poison(name, clean):
    settings, _, _ = BUDGETS[name]
    first, second = (craft(name, clean, Crafting(seed=seed), settings=settings) for seed in (0, 1))
    assert not np.array_equal(first.images, second.images)


@pytest.mark.parametrize("name", POISONS)
def test_it_is_described(name):
    assert (POISONS[name].__doc__ or "").strip()
    assert f"`{name}`" in (ROOT / "docs" / "methods.md").read_text()
    assert not {"self", "args", "kwargs"} & set(settings_of(POISONS[name])["fields"])


def test_a_perturbation_of_another_shape_is_refused(clean):
    with pytest.raises(InputError, match=r"perturbation \(3, 16, 16\) does not match images \(60, 3, 16, 16\)"):
        apply(clean, np.zeros((3, 16, 16), np.float32))


def test_a_perturbation_that_is_not_finite_is_refused(clean):
    with pytest.raises(InputError, match="finite"):
        apply(clean, np.full(clean.images.shape, np.nan, np.float32))


def test_apply_rounds_to_nearest_and_clips(clean):
    step = np.float32(0.6 / 255)
    raised = apply(clean, np.full(clean.images.shape, step))
    assert np.array_equal(raised.images, clean.images + 1)
    assert (apply(clean, np.full(clean.images.shape, np.float32(2))).images == 255).all()
    assert (apply(clean, np.full(clean.images.shape, np.float32(-2))).images == 0).all()


@pytest.mark.parametrize("name", ["aap", "aue", "em_samplewise", "em_classwise", "mi_ue", "ntga", "pil", "rem", "sep", "tap"])
def test_images_and_noise_that_would_fill_the_card_stay_on_the_host_and_are_the_same(name, monkeypatch):
    images = make_images(40, classes=4)
    settings = BUDGETS[name][0]
    there = craft(name, images, Crafting(seed=1), settings=settings)
    monkeypatch.setattr(devices, "has_room", lambda device, size: False)
    assert np.array_equal(craft(name, images, Crafting(seed=1), settings=settings).images, there.images)
