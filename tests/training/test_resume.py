"""A training that was cut off goes on to the same losses and the same weights, to the last bit."""

import dataclasses
import hashlib
import itertools

import pytest
import torch

from tests.conftest import make_images
from unlearnable.errors import DivergedError
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.training import Augmentation, Checkpoint, TrainingRecipe, fit

CPU = torch.device("cpu")
EPOCHS = 4
IMAGES = make_images(60, classes=3)
AUGMENTATION = Augmentation(crop=2, flip=True, brightness=0.2, cutmix=0.5)
RECIPES = {
    "float32": TrainingRecipe(epochs=EPOCHS, batch_size=16, learning_rate=0.05, precision="float32", augmentation=AUGMENTATION),
    "bfloat16": TrainingRecipe(epochs=EPOCHS, batch_size=16, learning_rate=0.05, precision="bfloat16", warmup=0.3, nesterov=True),
    "no momentum": TrainingRecipe(epochs=EPOCHS, batch_size=16, learning_rate=0.05, precision="float32", momentum=0.0, milestones=[2]),
    "adam": TrainingRecipe(
        epochs=EPOCHS, batch_size=16, learning_rate=0.001, final_learning_rate=1e-5, precision="bfloat16", optimiser="adam"
    ),
    "muon": TrainingRecipe(epochs=EPOCHS, batch_size=16, learning_rate=0.05, precision="bfloat16", nesterov=True, muon=0.1),
    "alternating flips": TrainingRecipe(
        epochs=EPOCHS,
        batch_size=16,
        learning_rate=0.05,
        precision="float32",
        schedule="linear",
        augmentation=Augmentation(flip=True, alternate_flip=True),
    ),
}
NETWORKS = {"alternating flips": "fast_cnn"}  # where it is not tiny_cnn


def train(recipe, done=(), seed=0, network="tiny_cnn") -> list[Checkpoint]:
    model = build(network, shape=(3, 32, 32), num_classes=3, seed=seed)
    return list(fit(model, IMAGES, IMAGES, recipe=recipe, normalisation=channel_statistics(IMAGES), seed=seed, device=CPU, done=done))


def outcome(checkpoints) -> tuple[list[float], str]:
    """The whole list of losses, and the hash of the final weights."""
    last = checkpoints[-1]
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in last.state.values()))
    return [measured["loss"] for measured in last.history], digest.hexdigest()


@pytest.fixture(scope="module")
def unbroken():
    return {name: train(recipe, network=NETWORKS.get(name, "tiny_cnn")) for name, recipe in RECIPES.items()}


@pytest.mark.parametrize("epoch", range(1, EPOCHS))
@pytest.mark.parametrize("name", RECIPES)
def test_a_training_goes_on_to_the_same_losses_and_weights(name, epoch, unbroken):
    resumed = train(RECIPES[name], done=unbroken[name][:epoch], network=NETWORKS.get(name, "tiny_cnn"))
    assert [each.epoch for each in resumed] == list(range(1, EPOCHS + 1))
    assert outcome(resumed) == outcome(unbroken[name])


def test_the_last_checkpoint_alone_is_enough(unbroken):
    resumed = train(RECIPES["float32"], done=unbroken["float32"][2:3])
    assert [each.epoch for each in resumed] == [3, 4]
    assert outcome(resumed) == outcome(unbroken["float32"])


def test_a_training_that_has_ended_is_handed_on_as_it_is(unbroken):
    assert outcome(train(RECIPES["float32"], done=unbroken["float32"][-2:-1])) == outcome(unbroken["float32"])


def items() -> list[tuple[str, str]]:
    checkpoint = train(dataclasses.replace(RECIPES["float32"], epochs=2))[0]
    return [("training", name) for name in checkpoint.training] + [("state", name) for name in checkpoint.state]


def fresh(part, name) -> torch.Tensor:
    """What the item was when the training began."""
    if part == "state":
        return build("tiny_cnn", shape=(3, 32, 32), num_classes=3, seed=0).state_dict()[name].clone()
    if name == "generator":
        return torch.Generator().manual_seed(0).get_state()
    return torch.tensor(0) if name == "steps_done" else torch.zeros_like(train(RECIPES["float32"])[0].training[name])


@pytest.mark.parametrize(("part", "name"), items())
def test_every_item_that_is_saved_is_needed(part, name, unbroken):
    """With any one of them as it was at the start, losses or weights differ; with all of them, they do not."""
    checkpoint = unbroken["float32"][1]
    without = dataclasses.replace(checkpoint, **{part: {**getattr(checkpoint, part), name: fresh(part, name)}})
    assert outcome(train(RECIPES["float32"], done=[without])) != outcome(unbroken["float32"])


def test_history_is_needed_too(unbroken):
    without = dataclasses.replace(unbroken["float32"][1], history=[{}, {}])
    with pytest.raises(KeyError, match="loss"):
        outcome(train(RECIPES["float32"], done=[without]))


@pytest.mark.parametrize("part", ["training", "state"])
def test_an_item_that_is_missing_is_noticed(part, unbroken):
    checkpoint = unbroken["float32"][1]
    for name in getattr(checkpoint, part):
        if name.endswith("num_batches_tracked"):
            continue  # torch counts from nothing where it is missing; no result depends on it
        rest = {key: value for key, value in getattr(checkpoint, part).items() if key != name}
        with pytest.raises((KeyError, RuntimeError), match=name):
            train(RECIPES["float32"], done=[dataclasses.replace(checkpoint, **{part: rest})])


# ---- divergence


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("step", [1, 6, 9, 16])
def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_step(step, value, monkeypatch):
    """An epoch has four steps; the checkpoints of all epochs before the step are handed on, and none after it."""
    steps = iter(range(1, 100))
    real = torch.nn.functional.cross_entropy
    monkeypatch.setattr("torch.nn.functional.cross_entropy", lambda *a, **k: real(*a, **k) * (value if next(steps) == step else 1.0))
    model, statistics = build("tiny_cnn", shape=(3, 32, 32), num_classes=3, seed=0), channel_statistics(IMAGES)
    checkpoints = fit(model, IMAGES, IMAGES, recipe=RECIPES["bfloat16"], normalisation=statistics, seed=0, device=CPU)
    epoch = (step + 3) // 4
    kept = list(itertools.islice(checkpoints, epoch - 1))
    assert [each.epoch for each in kept] == list(range(1, epoch))
    assert all(value.isfinite().all() for each in kept for value in each.state.values())
    expected = f"loss: expected a finite number, got {value} at step {step}, in epoch {epoch} of 4; checkpoints before it are kept"
    with pytest.raises(DivergedError, match=expected):
        next(checkpoints)
    assert next(checkpoints, None) is None


def test_weights_that_are_not_finite_are_no_checkpoint(monkeypatch):
    """The last step may spoil the weights after a loss that was still finite."""
    model = build("tiny_cnn", shape=(3, 32, 32), num_classes=3, seed=0)
    monkeypatch.setattr("torch.optim.SGD.step", lambda self: model.head.weight.data.fill_(float("nan")))
    recipe = dataclasses.replace(RECIPES["float32"], epochs=1, batch_size=60)
    with pytest.raises(DivergedError, match=r"weights: expected finite numbers, got others in head\.weight after epoch 1"):
        list(fit(model, IMAGES, IMAGES, recipe=recipe, normalisation=channel_statistics(IMAGES), seed=0, device=CPU))
