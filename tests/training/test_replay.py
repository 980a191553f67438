"""A step that is recorded and replayed from static buffers trains to the same bits; what records here is a stand-in for a GPU."""

import logging
from dataclasses import replace

import pytest
import torch

from tests.conftest import make_images
from tests.training.test_resume import AUGMENTATION, outcome
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.recoveries import recovery_named
from unlearnable.training import Method, TrainingRecipe, fit, plain_loss, trainer
from unlearnable.training.replay import Replays, eager

CPU = torch.device("cpu")
IMAGES = make_images(40, classes=4, side=16)
RECIPE = TrainingRecipe(epochs=3, batch_size=16, learning_rate=0.05, precision="float32", augmentation=AUGMENTATION)  # batches of 16, 16, 8
RECOVERIES = {
    "none": {},
    "adversarial_training": {"steps": 2},
    "gaussian_noise": {},
    "sharpening": {},
    "coin": {},
    "eclipse_augmentation": {},
    "cutout": {},
    "cutmix": {},
    "mixup": {},
    "randaugment": {},
    "ueraser_lite": {},
    "ueraser_max": {"repeats": 2},
}


def standing_in(model, records):
    """What a graph does: recording moves nothing, and a replay computes from the same tensors into the same tensors."""

    def record(function):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        loss = function()
        model.load_state_dict(before)
        gradients = [parameter.grad for parameter in model.parameters()]
        records.append(loss)

        def replay():
            held = [parameter.grad for parameter in model.parameters()]
            loss.copy_(function())
            for gradient, parameter, before in zip(gradients, model.parameters(), held, strict=True):
                gradient.copy_(parameter.grad)
                parameter.grad = before  # a graph writes numbers, and knows nothing of Python's names

        return replay, loss

    return record


@pytest.fixture
def records(monkeypatch):
    """The recordings of trainings, which are made from here on."""
    made = []
    monkeypatch.setattr(
        trainer,
        "Replays",
        lambda step, parameters, device: Replays(step, parameters, device, standing_in(step.__self__.model, made)),
    )
    return made


def train(method=None, recipe=RECIPE):
    model = build("tiny_cnn", shape=IMAGES.shape, num_classes=4, seed=0)
    options = {"recipe": recipe, "normalisation": channel_statistics(IMAGES), "seed": 0, "device": CPU}
    return outcome(list(fit(model, IMAGES, IMAGES, **options, method=method or Method())))


@pytest.mark.parametrize("name", RECOVERIES)
def test_it_trains_to_the_same_losses_and_weights(name, request):
    method = recovery_named(name, RECOVERIES[name]).method(IMAGES, seed=0)
    expected = train(method)
    records = request.getfixturevalue("records")
    assert train(method) == expected
    assert len(records) == 2  # whole batches, and the last


@pytest.mark.parametrize(
    "change", [{"optimiser": "adam", "learning_rate": 1e-3, "gradient_clip": 0.5}, {"muon": 0.1}], ids=["adam", "muon"]
)
def test_other_optimisers_and_a_clipped_gradient_too(change, request):
    recipe = replace(RECIPE, **change)
    expected = train(recipe=recipe)
    request.getfixturevalue("records")
    assert train(recipe=recipe) == expected


def test_alternating_flips_are_those_of_their_epoch(request):
    recipe = replace(RECIPE, augmentation=replace(RECIPE.augmentation, flip=True, alternate_flip=True))
    expected = train(recipe=recipe)
    assert expected != train(recipe=replace(RECIPE, augmentation=replace(RECIPE.augmentation, flip=True)))
    request.getfixturevalue("records")
    assert train(recipe=recipe) == expected


def test_what_is_not_drawn_by_the_method_is_replayed_as_it_was(request):
    """The twin: a loss that draws by itself gets something else on every call, and only one that is recorded would not."""
    numbers = iter(range(1, 100))
    method = Method(
        loss=lambda run, images, labels, shared, own: plain_loss(run, images * own["factor"], labels, shared, own),
        draw=lambda step, count, shape: {"factor": torch.tensor(float(next(numbers)))},
    )
    expected = train(method)
    numbers = iter(range(1, 100))
    request.getfixturevalue("records")
    assert train(method) == expected
    numbers = iter(range(2, 101))
    assert train(method) != expected


def test_a_step_that_cannot_be_recorded_is_computed_anew_and_a_line_says_so(monkeypatch, caplog):
    expected = train()

    def refuse(function):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(trainer, "Replays", lambda step, parameters, device: Replays(step, parameters, device, refuse))
    with caplog.at_level(logging.WARNING):
        assert train() == expected
    assert [record.message for record in caplog.records] == [
        "a training step cannot be recorded, and is computed anew each time: CUDA error: operation not permitted when stream is capturing"
    ]


def test_out_of_memory_is_not_taken_for_a_step_that_cannot_be_recorded(monkeypatch):
    def refuse(function):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "Replays", lambda step, parameters, device: Replays(step, parameters, device, refuse))
    with pytest.raises(torch.OutOfMemoryError):
        train()


def test_graphs_are_for_gpus_and_can_be_switched_off(monkeypatch):
    from unlearnable.training import replay

    monkeypatch.setattr(replay, "graphs", lambda: "graphs")
    assert Replays(None, [], CPU)._recorder is None
    assert Replays(None, [], torch.device("cuda"))._recorder == "graphs"
    with eager():
        assert Replays(None, [], torch.device("cuda"))._recorder is None
    assert Replays(None, [], torch.device("cuda"))._recorder == "graphs"
