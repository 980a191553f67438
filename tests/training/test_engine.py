from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, channel_statistics
from unlearnable.models import build
from unlearnable.poisons import Crafting, craft
from unlearnable.recoveries import recover
from unlearnable.training import Augmentation, Method, SimCLR, Trainer, TrainingRecipe, fit, fit_named, normalisation_of, recipe_from
from unlearnable.training.device import choose_device, computes_in_bfloat16

CPU = torch.device("cpu")


def train(images, *, seed=0, recipe=None, model="tiny_cnn", test=None, progress=lambda done, total: None):
    recipe = recipe or TrainingRecipe(epochs=2, batch_size=32, learning_rate=0.05, precision="float32")
    test = test or make_images(60, classes=images.num_classes, seed=9)
    return list(fit_named(model, images, test, like=images, recipe=recipe, seed=seed, device="cpu", progress=progress))


def curve(checkpoints):
    return [(c.measured["loss"], c.measured["test_accuracy"]) for c in checkpoints]


def test_it_learns():
    checkpoints = train(
        make_images(240, classes=4), recipe=TrainingRecipe(epochs=6, batch_size=16, learning_rate=0.05, precision="float32")
    )
    assert checkpoints[-1].measured["test_accuracy"] > 0.9
    assert [c.epoch for c in checkpoints] == [1, 2, 3, 4, 5, 6]
    assert [c.is_last for c in checkpoints] == [False] * 5 + [True]
    assert len(checkpoints[-1].history) == 6


def test_shuffled_labels_are_not_learned():
    """The twin of the test above: its accuracy is not for free."""
    images = make_images(240, classes=4)
    shuffled = images.subset(np.arange(240))
    labels = np.random.default_rng(0).permutation(images.labels)
    shuffled = type(images)(images=images.images, labels=labels, num_classes=4)
    checkpoints = train(shuffled, recipe=TrainingRecipe(epochs=6, batch_size=16, learning_rate=0.05, precision="float32"))
    assert checkpoints[-1].measured["test_accuracy"] < 0.6


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_curve_and_weights(precision, clean, global_generators_untouched):
    recipe = TrainingRecipe(
        epochs=2,
        batch_size=16,
        learning_rate=0.05,
        precision=precision,
        augmentation=Augmentation(crop=2, flip=True, brightness=0.2, cutmix=0.5),
    )
    first, second, other = train(clean, recipe=recipe), train(clean, recipe=recipe), train(clean, recipe=recipe, seed=1)
    assert curve(first) == curve(second)
    assert curve(first) != curve(other)
    for name, value in first[-1].state.items():
        assert torch.equal(value, second[-1].state[name])


def test_no_poison_is_exactly_the_clean_training(clean):
    assert curve(train(craft("none", clean, Crafting(seed=0), settings={}))) == curve(train(clean))


def test_a_projection_of_nothing_is_exactly_the_poisoned_training(clean):
    recovered = recover("none", clean, seed=0, device=CPU, settings={})
    assert curve(train(recovered)) == curve(train(clean))


def test_a_finish_changes_the_network_once_before_the_last_epoch_is_measured(clean):
    seen = []

    def finish(network):
        seen.append(network)
        torch.nn.init.zeros_(network.model.head.weight)
        with torch.no_grad():
            network.model.head.bias.copy_(torch.tensor([0.0, 9.0, 0.0]))

    recipe = TrainingRecipe(epochs=2, batch_size=32, learning_rate=0.05, precision="float32")
    first, last = fit_named(
        "tiny_cnn", clean, clean, like=clean, recipe=recipe, seed=0, device="cpu", method=Method(finish=finish, held_out=clean)
    )
    assert len(seen) == 1
    assert first.state["head.weight"].any()
    assert not last.state["head.weight"].any()
    assert last.measured["test_accuracy"] == last.measured["held_out_accuracy"] == pytest.approx((clean.labels == 1).mean())


def test_yielded_checkpoints_are_not_changed_by_later_epochs(clean):
    recipe = TrainingRecipe(epochs=2, batch_size=32, learning_rate=0.05, precision="float32")
    model = build("tiny_cnn", shape=(3, 32, 32), num_classes=3, seed=0)
    run = fit(model, clean, clean, recipe=recipe, normalisation=channel_statistics(clean), seed=0, device=CPU)
    first = next(run)
    kept = {name: value.clone() for name, value in first.state.items()}
    next(run)
    assert all(torch.equal(kept[name], first.state[name]) for name in kept)
    assert not torch.equal(kept["head.weight"], model.head.weight)


def test_order_and_augmentation_move_with_the_seed_even_from_the_same_weights(clean):
    recipe = TrainingRecipe(epochs=1, batch_size=16, learning_rate=0.05, precision="float32")
    losses = set()
    for seed in (0, 0, 1):
        model = build("tiny_cnn", shape=(3, 32, 32), num_classes=3, seed=0)
        [last] = fit(model, clean, clean, recipe=recipe, normalisation=channel_statistics(clean), seed=seed, device=CPU)
        losses.add(last.measured["loss"])
    assert len(losses) == 2


def test_progress_counts_every_step(clean):
    seen = []
    train(clean, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(step, 4) for step in range(1, 5)]


def test_cosine_with_warm_up_and_multistep_are_torchs_schedules():
    weight = [torch.zeros(1, requires_grad=True)]
    optimiser = torch.optim.SGD(weight, lr=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 60)
    recipe = TrainingRecipe(epochs=60, batch_size=1, learning_rate=0.1)
    multistep_optimiser = torch.optim.SGD(weight, lr=0.1)
    multistep = torch.optim.lr_scheduler.MultiStepLR(multistep_optimiser, [25, 37], gamma=0.1)
    steps = TrainingRecipe(epochs=50, batch_size=1, learning_rate=0.1, schedule="multistep", milestones=[25, 37])
    for epoch in range(50):
        assert 0.1 * recipe.learning_rate_factor(epoch) == pytest.approx(cosine.get_last_lr()[0])
        assert 0.1 * steps.learning_rate_factor(epoch) == pytest.approx(multistep.get_last_lr()[0])
        for stepped in (optimiser, multistep_optimiser, cosine, multistep):
            stepped.step()
    cut = TrainingRecipe(epochs=30, batch_size=1, learning_rate=0.1, cosine_epochs=60, rate_changes="epoch")
    whole = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD(weight, lr=0.1), 60)
    for epoch in range(30):
        assert 0.1 * cut.learning_rate_factor(epoch + 0.99) == pytest.approx(whole.get_last_lr()[0])
        whole.optimizer.step()
        whole.step()
    warm = TrainingRecipe(epochs=10, batch_size=1, learning_rate=0.1, warmup=0.2)
    assert [warm.learning_rate_factor(e) for e in (0, 1, 2, 10)] == pytest.approx([0, 0.5, 1, 0])


def test_the_learning_rate_is_that_of_every_step(clean):
    recipe = TrainingRecipe(epochs=2, batch_size=30, learning_rate=0.05, precision="float32")
    rates = [checkpoint.measured["learning_rate"] for checkpoint in train(clean, recipe=recipe)]
    assert rates == pytest.approx([0.05 * recipe.learning_rate_factor(done) for done in (0.5, 1.5)])  # of the last of two steps


def test_the_gradient_is_clipped_to_its_norm(clean):
    """A step of rate 1 without momentum moves the weights by the gradient itself."""
    plain = {"momentum": 0.0, "weight_decay": 0.0, "precision": "float32"}
    recipe = TrainingRecipe(epochs=1, batch_size=60, learning_rate=1.0, gradient_clip=0.05, **plain)
    model = build("tiny_cnn", shape=clean.shape, num_classes=3, seed=0)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    trainer = Trainer(model, recipe, channel_statistics(clean), torch.device("cpu"))
    trainer.step(torch.from_numpy(clean.images) / 255, torch.from_numpy(clean.labels), torch.Generator())
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert moved.norm() == pytest.approx(0.05, rel=1e-3)


def test_deviations_of_the_recipe_are_what_images_are_divided_by(clean):
    recipe = TrainingRecipe(epochs=1, batch_size=60, learning_rate=0.1, deviations=[0.2, 0.25, 0.5])
    mean, deviations = normalisation_of(clean, recipe)
    assert np.allclose(mean, clean.images.mean((0, 2, 3)) / 255)
    assert deviations == [0.2, 0.25, 0.5]
    with pytest.raises(InputError, match=r"train\.deviations: expected 3 numbers above 0, one for each channel, got \[0\.2\]"):
        normalisation_of(clean, TrainingRecipe(epochs=1, batch_size=60, learning_rate=0.1, deviations=[0.2]))


def test_every_setting_of_a_recipe_changes_the_training(clean, tmp_path):
    weights = str(tmp_path / "weights.safetensors")
    save_file(build("tiny_cnn", shape=clean.shape, num_classes=3, seed=9).state_dict(), weights)
    base = {"epochs": 2, "batch_size": 20, "learning_rate": 0.05, "precision": "float32"}
    steps = {"schedule": "multistep", "milestones": [1]}
    changes = [{}, {"epochs": 3}, {"batch_size": 16}, {"learning_rate": 0.04}, {"final_learning_rate": 0.01}, {"optimiser": "adam"}]
    changes += [{"momentum": 0.5}, {"weight_decay": 0.1}, {"nesterov": True}, {"muon": 0.1}]
    changes += [steps, {**steps, "gamma": 0.4}, {"warmup": 0.5}]
    changes += [{"cosine_epochs": 5}, {"rate_changes": "epoch"}, {"initialisation": "torch"}, {"deviations": [0.2, 0.3, 0.4]}]
    changes += [{"gradient_clip": 0.1}, {"label_smoothing": 0.1}, {"precision": "bfloat16"}, {"augmentation": Augmentation(flip=True)}]
    changes += [{"weights": weights}, {"freeze": "0"}, {"pretraining": "simclr", "simclr": SimCLR(epochs=1, batch_size=60)}]
    assert {name for change in changes for name in change} == {setting.name for setting in fields(TrainingRecipe)}
    heads = [train(clean, recipe=TrainingRecipe(**base | change))[-1].state["head.weight"] for change in changes]
    assert len({head.numpy().tobytes() for head in heads}) == len(changes)


def test_a_gpu_asked_for_and_missing_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    with pytest.raises(InputError, match="device: expected a CUDA GPU for 'cuda', got a machine without one"):
        choose_device("cuda")
    with pytest.raises(InputError, match="device: expected auto, cpu or cuda, got 'gpu'"):
        choose_device("gpu")


def test_precision_can_be_fixed():
    assert not computes_in_bfloat16(CPU, "float32")
    assert computes_in_bfloat16(CPU, "bfloat16")


@pytest.mark.parametrize(("has", "expected"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_f", False)])
def test_bfloat16_is_taken_where_it_is_not_emulated(has, expected, monkeypatch):
    capabilities = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False, has: True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert computes_in_bfloat16(CPU, "auto") == expected


def test_bfloat16_follows_float32(clean):
    curves = {}
    for precision in ("float32", "bfloat16"):
        recipe = TrainingRecipe(epochs=3, batch_size=20, learning_rate=0.02, precision=precision)
        curves[precision] = [c.measured["loss"] for c in train(clean, recipe=recipe)]
    assert curves["bfloat16"] == pytest.approx(curves["float32"], abs=0.1)
    assert curves["bfloat16"] != curves["float32"]


def test_a_recipe_comes_from_nested_settings():
    settings = {"epochs": 3, "batch_size": 2, "learning_rate": 0.1, "keep_checkpoints": 1, "augmentation": {"crop": 4}}
    recipe = recipe_from(settings)
    assert recipe.epochs == 3
    assert recipe.augmentation == Augmentation(crop=4)


def test_a_batch_larger_than_the_set_is_refused_before_anything_is_trained(clean):
    assert train(clean, recipe=TrainingRecipe(epochs=1, batch_size=60, learning_rate=0.05, precision="float32"))
    with pytest.raises(InputError, match=r"train\.batch_size: expected at most 60, the images of the training set, got 61"):
        train(clean, recipe=TrainingRecipe(epochs=1, batch_size=61, learning_rate=0.05, precision="float32"))


def test_a_linear_schedule_is_a_triangle():
    """It rises from nothing for a fifth of ten epochs, is at half of the way down after six, and ends at a tenth."""
    recipe = TrainingRecipe(epochs=10, batch_size=1, learning_rate=2.0, final_learning_rate=0.2, schedule="linear", warmup=0.2)
    assert [recipe.learning_rate_factor(epoch) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.5, 1, 0.55, 0.1])


def seen_in(epochs: int, **augmentation) -> list[np.ndarray]:
    """Return for each epoch which of 40 images, told by their brightness, were seen mirrored: left half darker than the right one."""
    images = np.zeros((40, 3, 32, 32), dtype=np.uint8)
    images += np.arange(40, dtype=np.uint8)[:, None, None, None] + 100
    images[..., 16:] += 50
    labelled = LabelledImages(images=images, labels=np.arange(40) % 4, num_classes=4)
    seen = []

    def loss(trainer, batch, labels, shared, own):
        mirrored = batch[:, 0, 0, 0] > batch[:, 0, 0, -1]
        place = (batch[:, 0].amin((1, 2)) * 255).round().long() - 100
        seen.append(dict(zip(place.tolist(), mirrored.tolist(), strict=True)))
        return trainer.cross_entropy(trainer.forward(batch), labels)

    drawn = Augmentation(**augmentation)
    recipe = TrainingRecipe(epochs=epochs, batch_size=16, learning_rate=0.01, precision="float32", augmentation=drawn)
    list(fit_named("tiny_cnn", labelled, labelled, like=labelled, recipe=recipe, seed=0, device="cpu", method=Method(loss=loss)))
    whole = [seen[epoch * 3] | seen[epoch * 3 + 1] | seen[epoch * 3 + 2] for epoch in range(epochs)]
    return [np.array([epoch[place] for place in range(40)]) for epoch in whole]


def test_an_epoch_mirrors_the_images_that_the_one_before_did_not():
    first, second, third = seen_in(3, flip=True, alternate_flip=True)
    assert 8 <= first.sum() <= 32
    assert np.array_equal(second, ~first)
    assert np.array_equal(third, first)


def test_flips_without_alternation_are_drawn_for_each_epoch():
    """The twin of the test above."""
    first, second = seen_in(2, flip=True)
    assert not np.array_equal(second, ~first)


def test_a_whitening_is_fitted_to_the_clean_images_and_saved():
    clean, poisoned = make_images(60, classes=3), make_images(60, classes=3, seed=5)
    found = {}
    for name, train_set in (("clean", clean), ("poisoned", poisoned)):
        recipe = TrainingRecipe(epochs=1, batch_size=20, learning_rate=0.01, precision="float32")
        [last] = fit_named("fast_cnn", train_set, clean, like=clean, recipe=recipe, seed=0, device="cpu")
        found[name] = last.state["extractor.layers.0.weight"]
    assert torch.equal(found["clean"], found["poisoned"])
    mean, deviation = (torch.as_tensor(each, dtype=torch.float32).view(-1, 1, 1) for each in normalisation_of(clean, recipe))
    pixels = (torch.from_numpy(clean.images) / 255 - mean) / deviation
    answers = torch.nn.functional.conv2d(pixels, found["clean"]).transpose(0, 1).flatten(1).double()
    assert (answers.square().mean(1) < 1.01).all()
