"""The library as one imports it: the same errors, images and networks as those of the pipelines."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import unlearnable
from tests.config.test_recipe import PARAMETERS, changed
from tests.config.test_validation import WRONG
from tests.conftest import ROOT, make_images
from unlearnable.errors import InputError
from unlearnable.models import MODELS
from unlearnable.poisons import POISONS
from unlearnable.probes import reweighting
from unlearnable.recoveries import RECOVERIES
from unlearnable.training import Network, fit_named, recipe_from
from unlearnable.training.pixels import resident

IMAGES, TEST = make_images(60, classes=3), make_images(30, classes=3, seed=1)
PAIR = (IMAGES.images, IMAGES.labels)
RECIPE = {"epochs": 3, "batch_size": 20, "learning_rate": 0.05, "precision": "float32"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def training():
    return unlearnable.train("tiny_cnn", IMAGES, TEST, keep=0, seed=2, **RECIPE)


# ---- images


def test_arrays_and_sets_are_poisoned_alike():
    poisoned = unlearnable.craft("patches_4", *PAIR, seed=3)
    assert np.array_equal(poisoned.images, unlearnable.craft("patches_4", IMAGES, seed=3).images)
    assert np.abs(poisoned.images.astype(int) - IMAGES.images).max() == 8  # of 255, the published bound
    assert np.array_equal(poisoned.images, unlearnable.craft("patches_4", PAIR, seed=3, linf=8 / 255).images)


def test_what_is_projected_is_seen_so_and_not_in_images():
    recovered = unlearnable.recover("orthogonal_projection", PAIR)
    assert np.array_equal(recovered.images, IMAGES.images)
    assert np.allclose(recovered.pixels(), resident(recovered, CPU).numpy(), atol=1e-6)  # which torch computes
    flat = recovered.pixels().reshape(60, -1)
    assert np.abs(flat @ recovered.projection.basis).max() < 1e-5
    assert np.abs(IMAGES.pixels().reshape(60, -1) @ recovered.projection.basis).max() > 0.1
    pixels, labels = recovered.to_torch().tensors
    assert (pixels.shape, pixels.dtype, labels.dtype) == ((60, 3, 16, 16), torch.float32, torch.int64)
    assert np.array_equal(pixels.numpy(), recovered.pixels())


def test_a_projection_keeps_its_centre():
    centred = unlearnable.recover("orthogonal_projection", PAIR, centred=True)
    assert np.allclose(centred.pixels().mean(0), IMAGES.pixels().mean(0), atol=1e-5)


def test_a_set_is_described_in_a_line():
    assert repr(IMAGES) == "LabelledImages(60 of 3x16x16, 3 classes)"
    assert repr(unlearnable.recover("orthogonal_projection", PAIR)) == "LabelledImages(60 of 3x16x16, 3 classes, less 3 directions)"


# ---- trainings


def test_a_training_is_that_of_the_pipelines(training):
    expected = list(fit_named("tiny_cnn", IMAGES, TEST, like=IMAGES, recipe=recipe_from(RECIPE), seed=2, device="cpu"))
    assert training.history["loss"].tolist() == [measured["loss"] for measured in expected[-1].history]
    assert training.history.index.tolist() == [1, 2, 3]
    assert all(torch.equal(value, training.network.model.state_dict()[name]) for name, value in expected[-1].state.items())
    assert repr(training) == f"Training(tiny_cnn, epoch 3 of 3, test accuracy {training.accuracy:.3f})"


def test_predictions_are_of_the_accuracy_that_was_measured(training):
    assert (training.predict(TEST) == TEST.labels).mean() == pytest.approx(training.accuracy)
    assert np.array_equal(training.predict(TEST.images), training.predict(TEST))


def test_a_recovered_set_and_the_recovery_by_name_are_one_training():
    recovered = unlearnable.recover("orthogonal_projection", PAIR, seed=1)
    first = unlearnable.train("tiny_cnn", recovered, TEST, clean=IMAGES, seed=1, **RECIPE)
    named = unlearnable.train("tiny_cnn", PAIR, TEST, clean=IMAGES, seed=1, recovery="orthogonal_projection", **RECIPE)
    plain = unlearnable.train("tiny_cnn", PAIR, TEST, clean=IMAGES, seed=1, **RECIPE)
    assert first.history["loss"].tolist() == named.history["loss"].tolist() != plain.history["loss"].tolist()


def test_early_stopping_takes_the_first_of_the_best_epochs_on_clean_images():
    stopped = unlearnable.train(
        "tiny_cnn",
        PAIR,
        TEST,
        clean=IMAGES,
        keep=0,
        recovery="early_stopping",
        recovery_settings={"clean_samples": 30},
        **RECIPE | {"epochs": 8, "warmup": 0.3},
    )
    found = stopped.history["held_out_accuracy"]
    assert 1 < stopped.taken.epoch == found.idxmax() < 8
    assert stopped.accuracy == stopped.history["test_accuracy"][stopped.taken.epoch]
    state = stopped.network.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in stopped.checkpoints[stopped.taken.epoch - 1].state.items())


def test_the_newest_checkpoints_are_kept(training):
    assert [checkpoint.epoch for checkpoint in training.checkpoints] == [1, 2, 3]
    kept = unlearnable.train("tiny_cnn", IMAGES, TEST, keep=2, seed=2, **RECIPE)
    assert [checkpoint.epoch for checkpoint in kept.checkpoints] == [2, 3]
    assert kept.accuracy == training.accuracy


# ---- probes


def test_a_probe_asks_every_checkpoint_and_the_network_before_its_first_step(training):
    table = unlearnable.probe(training, IMAGES, TEST, clean_samples=30, held_out=12)
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table["plain_accuracy"].tolist()[1:] == training.history["test_accuracy"].tolist()
    assert table["test_accuracy"].between(0, 1).all()


def test_a_probe_sees_images_as_the_network_did(monkeypatch):
    """It was trained on darker images, whose channels have another mean than those that heads are fitted to."""
    dark = replace(IMAGES, images=IMAGES.images // 2)
    training = unlearnable.train("tiny_cnn", dark, TEST, **RECIPE)
    networks = []
    monkeypatch.setattr(reweighting, "Network", lambda *given: networks.append(Network(*given)) or networks[-1])
    unlearnable.probe(training, IMAGES, TEST, clean_samples=30, held_out=12)
    assert torch.equal(networks[0].shift, training.network.shift)
    expected = -dark.images.mean((0, 2, 3)) / dark.images.std((0, 2, 3))
    assert np.allclose(networks[0].shift.flatten(), expected, rtol=1e-4)


def test_learnability_is_asked_of_the_network_that_was_taken(training):
    found = unlearnable.learnability(training, (TEST.images, TEST.labels), draws=2, deviation=1e-9)
    assert found["accuracies"] == [found["plain_accuracy"]] * 2 == pytest.approx([training.accuracy] * 2)


def test_perturbations_of_one_tile_a_class_are_separable_and_none_are_not():
    found = unlearnable.separability(PAIR, unlearnable.craft("patches_4", *PAIR))
    assert found["models"]["linear"]["train_accuracy"] == 1.0
    assert unlearnable.separability(PAIR, IMAGES)["models"]["linear"]["train_accuracy"] < 0.5


# ---- errors


def _asked(path: str, value: object) -> None:
    """Give a setting of the parameters to the function of the library that takes it."""
    block, *inner = path.split(".")
    name = inner.pop(0) if block in ("craft", "recover") else None
    settings = value if not inner else changed(PARAMETERS[block] if name is None else PARAMETERS[block][name], inner, value)
    if block == "craft":
        unlearnable.craft(name, IMAGES, **settings)
    elif block == "recover":
        unlearnable.recover(name, IMAGES, **settings)
    elif block == "train":
        unlearnable.train("tiny_cnn", IMAGES, TEST, **{key: given for key, given in settings.items() if key != "keep_checkpoints"})
    elif block == "probe":
        unlearnable.probe(None, IMAGES, TEST, **{key: given for key, given in settings.items() if key != "train"})
    elif block == "learnability":
        unlearnable.learnability(None, IMAGES, **settings)
    else:
        unlearnable.separability(IMAGES, IMAGES, **settings)


OURS = [
    row for row in WRONG if "." in row[0] and row[0].split(".")[0] in ("craft", "recover", "train", "probe", "learnability", "separability")
]
ASKED = [row for row in OURS if row[0] != "craft.seed" and not row[0].startswith("probe.train") and "estimator" not in row[0]]


@pytest.mark.parametrize(("path", "value", "message"), ASKED, ids=[f"{path}={value}" for path, value, _ in ASKED])
def test_a_wrong_setting_is_the_line_that_a_run_says(path, value, message):
    with pytest.raises(InputError) as error:
        _asked(path, value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


LINES = [
    (lambda: unlearnable.craft("opps", *PAIR), f"unknown poison 'opps'; known: {', '.join(POISONS)} (did you mean 'ops'?)"),
    (lambda: unlearnable.recover("jpg", PAIR), f"unknown recovery 'jpg'; known: {', '.join(RECOVERIES)} (did you mean 'jpeg'?)"),
    (
        lambda: unlearnable.train("tiny", PAIR, TEST),
        f"unknown model 'tiny'; known: {', '.join(MODELS)}, timm:NAME (did you mean 'tiny_cnn'?)",
    ),
    (
        lambda: unlearnable.craft("lsp", *PAIR, patch=4),
        "unknown parameter 'craft.lsp.patch'; known: l2, class_sep, patches (did you mean 'patches'?)",
    ),
    (
        lambda: unlearnable.craft("hypo", *PAIR, epochs=0, attack={"step": math.inf}),
        "parameter 'craft.hypo.epochs': expected greater than or equal to 1, got 0; "
        "parameter 'craft.hypo.attack.step': expected a finite number, got inf",
    ),
    (
        lambda: unlearnable.craft("ops", IMAGES.images.transpose(0, 2, 3, 1), IMAGES.labels),
        "images: expected (N, C, H, W), got (60, 16, 16, 3): use images.transpose(0, 3, 1, 2)",
    ),
    (lambda: unlearnable.craft("ops", IMAGES.pixels(), IMAGES.labels), "images: expected uint8 (N, C, H, W), got float32 (60, 3, 16, 16)"),
    (lambda: unlearnable.craft("ops", IMAGES.images, IMAGES.labels / 2), "labels: expected int64 (60,), got float64 (60,)"),
    (lambda: unlearnable.craft("ops", IMAGES.images), "images: expected a set, or the pair (images, labels), got ndarray"),
    (lambda: unlearnable.craft("ops", *PAIR, device="gpu"), "device: expected auto, cpu or cuda, got 'gpu'"),
    (lambda: unlearnable.train("tiny_cnn", PAIR, (TEST.images, TEST.labels + 1)), "labels: expected 0 to 2, got 1 to 3"),
    (
        lambda: unlearnable.train("tiny_cnn", PAIR, TEST, recovery="dfr", **RECIPE),
        "clean: expected clean images, 5000 of which 'dfr' takes, got none",
    ),
    (
        lambda: unlearnable.recover("cutmix", PAIR),
        "recovery: expected one that changes images, got 'cutmix', which changes the training: use train(..., recovery='cutmix')",
    ),
]


@pytest.mark.parametrize(("call", "line"), LINES, ids=[line[:40] for _, line in LINES])
def test_a_wrong_call_is_one_line(call, line):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == line


# ---- what is imported


def test_importing_brings_torch_when_a_function_is_asked_for():
    told = (
        "import sys, unlearnable, unlearnable.images; assert 'torch' not in sys.modules; unlearnable.craft; assert 'torch' in sys.modules; "
    )
    told += "assert not {'kedro', 'mlflow', 'yaml', 'omegaconf', 'pydantic', 'PIL'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_names_are_there_and_no_others():
    assert [name for name in unlearnable.__all__ if not hasattr(unlearnable, name)] == []
    assert set(unlearnable.__all__) <= set(dir(unlearnable))
    with pytest.raises(AttributeError, match="module 'unlearnable' has no attribute 'crafted'"):
        _ = unlearnable.crafted
