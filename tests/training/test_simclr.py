"""Features that are learned without labels, by SimCLR, and the head that is then trained on them."""

import math
from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch

import unlearnable
from tests.conftest import make_images
from unlearnable.errors import DivergedError, InputError
from unlearnable.images import LabelledImages
from unlearnable.training import SimCLR, TrainingRecipe, fit_named
from unlearnable.training.simclr import nt_xent

PRETRAINED, EPOCHS = 2, 4  # of all
SETTINGS = {"epochs": PRETRAINED, "batch_size": 18, "learning_rate": 0.1, "width": 8}
RECIPE = TrainingRecipe(
    epochs=EPOCHS - PRETRAINED, batch_size=12, learning_rate=0.1, precision="float32", pretraining="simclr", simclr=SimCLR(**SETTINGS)
)
IMAGES = make_images(36, classes=3)


def training(recipe=RECIPE, *, images=IMAGES, done=()):
    return fit_named("tiny_cnn", images, images, like=images, recipe=recipe, seed=0, device="cpu", done=done)


def train(*recipe, **more):
    return list(training(*recipe, **more))


@pytest.fixture(scope="module")
def whole():
    """The checkpoints of a training that is not cut off."""
    return train()


def changed(state, before):
    return {name for name, value in state.items() if not torch.equal(value, before[name])}


def losses(checkpoints):
    return [measured["loss"] for measured in checkpoints[-1].history]


def test_the_loss_of_two_images_whose_views_are_equal():
    """Each view has likeness 1 to the other view and 0 to the two of the other image: log(1 + 2 exp(-1 / 0.5)), at any length."""
    views = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 1.0]])
    assert float(nt_xent(views, 0.5)) == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)


def test_the_loss_is_that_of_equation_1():
    """l(i, j) = -log(exp(s(i, j) / t) / sum over k != i of exp(s(i, k) / t)), averaged over both orders of all pairs."""
    z = np.random.default_rng(0).normal(size=(6, 4))
    s = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in z] for a in z])
    pairs = [(0, 3), (3, 0), (1, 4), (4, 1), (2, 5), (5, 2)]
    terms = [-np.log(np.exp(s[i, j] / 0.3) / sum(np.exp(s[i, k] / 0.3) for k in range(6) if k != i)) for i, j in pairs]
    assert float(nt_xent(torch.from_numpy(z), 0.3)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_features_are_learned_without_labels_and_then_the_head_alone(whole):
    other = LabelledImages(images=IMAGES.images, labels=IMAGES.labels[::-1].copy(), num_classes=3)
    unlabelled = train(images=other)
    assert [each.epoch for each in whole] == [1, 2, 3, 4]
    assert "head.weight" not in changed(whole[1].state, whole[0].state)
    assert changed(whole[1].state, whole[0].state)
    assert changed(whole[3].state, whole[1].state) == {"head.weight", "head.bias"}
    assert changed(unlabelled[3].state, whole[3].state) == {"head.weight", "head.bias"}


def test_what_follows_may_train_all(whole):
    last = train(replace(RECIPE, freeze=[]), done=whole[:2])[-1]
    assert changed(last.state, whole[1].state) == set(last.state)


def test_every_setting_changes_the_features():
    changes = {"epochs": 3, "batch_size": 12, "learning_rate": 0.2, "weight_decay": 0.1, "warmup": 0.5, "temperature": 0.1}
    changes |= {"strength": 0.5, "width": 4}
    assert set(changes) == {setting.name for setting in fields(SimCLR)}
    settings = [SETTINGS, *(SETTINGS | {name: value} for name, value in changes.items())]
    found = [next(training(replace(RECIPE, simclr=SimCLR(**each)))) for each in settings]
    assert len({each.state["extractor.0.0.weight"].numpy().tobytes() for each in found}) == len(settings)


@pytest.mark.parametrize("epochs", range(1, EPOCHS))
def test_it_resumes_in_the_pretraining_after_it_and_in_what_follows(epochs, whole):
    resumed = train(done=whole[epochs - 1 : epochs])
    assert losses(resumed) == losses(whole)
    assert not changed(resumed[-1].state, whole[-1].state)


def test_every_weight_of_the_projection_is_needed_to_resume(whole):
    names = {name for name in whole[0].training if name.startswith("projection/")}
    assert len(names) == 4
    for name in names:
        without = replace(whole[0], training={**whole[0].training, name: torch.zeros_like(whole[0].training[name])})
        *_, second = islice(training(done=[without]), PRETRAINED)
        assert second.measured["loss"] != whole[1].measured["loss"]


def textures(size: int, seed: int) -> LabelledImages:
    """Images of lines in a row, of a chessboard or of blots, which no crop, mirror or colour turns into each other."""
    rng = np.random.default_rng(seed)
    labels, rows, columns = np.arange(size) % 3, np.arange(16)[:, None], np.arange(16)
    lines, board = rows // 2 % 2 + 0 * columns, (rows // 2 + columns // 2) % 2
    blots = rng.integers(0, 2, (size, 4, 4)).repeat(4, 1).repeat(4, 2)
    seen = np.where((labels == 0)[:, None, None], lines, np.where((labels == 1)[:, None, None], board, blots))
    low, high = rng.integers(0, 100, (size, 3, 1, 1)), rng.integers(110, 256, (size, 3, 1, 1))
    return LabelledImages(images=np.where(seen[:, None], high, low).astype(np.uint8), labels=labels, num_classes=3)


def test_a_head_on_features_learned_without_labels_tells_new_images_apart():
    """A head is linear, and chance is a third."""
    recipe = replace(RECIPE, simclr=SimCLR(epochs=4, batch_size=30, learning_rate=0.1, width=16))
    images, test = textures(90, 0), textures(60, 1)
    history = list(fit_named("tiny_cnn", images, test, like=images, recipe=recipe, seed=0, device="cpu"))[-1].history
    assert history[3]["loss"] < history[0]["loss"]
    assert history[-1]["test_accuracy"] > 0.6


def test_the_library_takes_it_as_a_setting(whole):
    given = {"epochs": 2, "batch_size": 12, "learning_rate": 0.1, "precision": "float32"}
    found = unlearnable.train("tiny_cnn", IMAGES, IMAGES, pretraining="simclr", simclr=SETTINGS, **given)
    assert not changed(found.taken.state, whole[-1].state)


def test_a_pretraining_that_cannot_be_is_one_line():
    wrong = r"^train\.simclr\.batch_size: expected at most 36, the images of the training set, got 37$"
    with pytest.raises(InputError, match=wrong):
        train(replace(RECIPE, simclr=SimCLR(batch_size=37)))
    wrong = r"at step \d+, in epoch 1 of 4; checkpoints before it are kept: a lower train\.simclr\.learning_rate may help$"
    with pytest.raises(DivergedError, match=wrong):
        train(replace(RECIPE, simclr=SimCLR(**SETTINGS | {"batch_size": 2, "learning_rate": 1e30, "warmup": 0.0})))
