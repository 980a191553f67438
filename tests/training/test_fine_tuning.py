"""Trainings that start from the weights of others, of which a part may stay as it is."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch

import unlearnable
from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.probes import ReweightingRecipe, reweight
from unlearnable.recoveries import recovery_named
from unlearnable.training import Augmentation, TrainingRecipe, fit, fit_named

CPU = torch.device("cpu")
IMAGES, OTHER = make_images(60, classes=3), make_images(60, classes=4, seed=1)
RECIPE = TrainingRecipe(epochs=2, batch_size=20, learning_rate=0.05, precision="float32", augmentation=Augmentation(flip=True))


def train(recipe=RECIPE, *, images=IMAGES, model="tiny_cnn", done=(), recovery="none", **settings):
    method = recovery_named(recovery, settings).method(images, seed=0)
    return list(fit_named(model, images, images, like=images, recipe=recipe, seed=0, device="cpu", done=done, method=method))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights of each network, trained on images of four classes."""

    def written(model):
        path = tmp_path_factory.mktemp("weights") / f"{model}.safetensors"
        safetensors.torch.save_file(train(images=OTHER, model=model)[-1].state, path)
        return str(path)

    return {model: written(model) for model in ("tiny_cnn", "fast_cnn")}


def changed(state, before):
    return {name for name, value in state.items() if not torch.equal(value, before[name])}


def outcome(checkpoints):
    return [measured["loss"] for measured in checkpoints[-1].history], checkpoints[-1].state


def same(first, second):
    return first[0] == second[0] and not changed(first[1], second[1])


def test_a_training_from_weights_is_that_of_a_network_into_which_torch_loads_them(weights):
    model = build("tiny_cnn", shape=IMAGES.shape, num_classes=3, seed=0)
    state = safetensors.torch.load_file(weights["tiny_cnn"])
    model.load_state_dict({name: value for name, value in state.items() if not name.startswith("head")}, strict=False)
    expected = list(fit(model, IMAGES, IMAGES, recipe=RECIPE, normalisation=channel_statistics(IMAGES), seed=0, device=CPU))
    found = train(replace(RECIPE, weights=weights["tiny_cnn"]))
    assert same(outcome(found), outcome(expected))
    assert not same(outcome(found), outcome(train()))


@pytest.mark.parametrize("model", ["tiny_cnn", "fast_cnn"])
@pytest.mark.parametrize(
    ("recovery", "settings"),
    [("none", {}), ("adversarial_training", {"steps": 1}), ("ueraser_max", {"repeats": 2})],  # two that change the network's mode
)
def test_what_is_frozen_does_not_change_at_all(model, recovery, settings, weights):
    before = safetensors.torch.load_file(weights[model])
    recipe = replace(RECIPE, epochs=1, weights=weights[model], freeze="all but the head")
    [last] = train(recipe, model=model, recovery=recovery, images=OTHER, **settings)
    assert changed(last.state, before) == {"head.weight", "head.bias"}


def test_what_is_not_frozen_changes_with_its_statistics(weights):
    before = safetensors.torch.load_file(weights["tiny_cnn"])
    last = train(replace(RECIPE, weights=weights["tiny_cnn"], freeze=["0", "1"]), images=OTHER)[-1]
    assert changed(last.state, before) == {name for name in before if not name.startswith(("extractor.0.", "extractor.1."))}


def test_whitening_stays_that_of_the_weights(weights):
    """The layers after it were trained with it."""
    before = safetensors.torch.load_file(weights["fast_cnn"])
    [last] = train(replace(RECIPE, epochs=1, weights=weights["fast_cnn"]), model="fast_cnn")
    assert torch.equal(last.state["extractor.layers.0.weight"], before["extractor.layers.0.weight"])
    assert not torch.equal(
        last.state["extractor.layers.0.weight"], train(replace(RECIPE, epochs=1), model="fast_cnn")[0].state["extractor.layers.0.weight"]
    )


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_it_resumes_to_the_same_losses_and_weights(optimiser, weights):
    recipe = replace(RECIPE, epochs=3, optimiser=optimiser, learning_rate=0.01, weights=weights["tiny_cnn"], freeze=["0"])
    whole = train(recipe)
    assert not {name for name in whole[0].training if "/extractor.0." in name}  # nothing is kept of what is not trained
    assert same(outcome(train(recipe, done=whole[:1])), outcome(whole))


def test_the_control_of_a_probe_is_the_network_that_the_training_started_from(weights):
    recipe = replace(RECIPE, weights=weights["tiny_cnn"])
    rows = reweight(
        train(recipe, images=OTHER)[-1:],
        OTHER,
        OTHER,
        model="tiny_cnn",
        training=recipe,
        recipe=ReweightingRecipe(clean_samples=20, held_out=8),
        seed=0,
        device=CPU,
    )
    assert rows[0]["epoch"] == 0
    assert rows[0]["plain_accuracy"] == train(images=OTHER)[-1].measured["test_accuracy"]  # which the file's training ended with


def test_the_library_takes_them_as_settings(weights):
    settings = {"epochs": 2, "batch_size": 20, "learning_rate": 0.05, "precision": "float32", "augmentation": {"flip": True}}
    found = unlearnable.train("tiny_cnn", IMAGES, IMAGES, weights=weights["tiny_cnn"], freeze="all but the head", **settings)
    expected = train(replace(RECIPE, weights=weights["tiny_cnn"], freeze="all but the head"))
    assert not changed(found.taken.state, expected[-1].state)
    with pytest.raises(
        InputError, match=r"^train\.weights: expected the weights of 'small_cnn' for these images, got .*tiny_cnn.safetensors "
    ):
        unlearnable.train("small_cnn", IMAGES, IMAGES, weights=weights["tiny_cnn"], **settings)
    with pytest.raises(InputError, match=r"^train\.freeze: expected 'all but the head', or names of parts such as 0, 1, 2, 3; got '4'"):
        unlearnable.train("tiny_cnn", IMAGES, IMAGES, freeze="4", **settings)
