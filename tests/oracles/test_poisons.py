"""Poisons beside the numbers of their references."""

import itertools
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.oracles.inputs import fractions, inward, labelled, moved, network, pixels, planted, weights
from tests.oracles.table import numbers
from unlearnable.images import LabelledImages
from unlearnable.models import ImageClassifier
from unlearnable.poisons import POISONS, Crafting, craft
from unlearnable.poisons.adversarial_noise import Attack, shift_and_flip
from unlearnable.poisons.autoregressive import Search, response
from unlearnable.poisons.binding import Generation, Generator
from unlearnable.poisons.error_minimising import ErrorMinimisation
from unlearnable.poisons.ntga import prediction, tangent_kernel
from unlearnable.poisons.robust_error_minimising import Steps
from unlearnable.poisons.surrogate import Surrogate, Workshop
from unlearnable.sources.digits import DigitsOnPhotographs
from unlearnable.sources.raw import TorchvisionImages

CIFAR10 = "UNLEARNABLE_CIFAR10"  # the variable that names a folder with the real images; .ci/run sets it


def digits() -> LabelledImages:
    return DigitsOnPhotographs(name="digits", train_size=6000, test_size=1000, seed=0).load().train


def cifar10() -> LabelledImages:
    if CIFAR10 not in os.environ:
        pytest.skip(f"{CIFAR10} names no folder with CIFAR-10")
    return TorchvisionImages(name="CIFAR10", path=os.environ[CIFAR10], download=False).load().train


def assert_levels(found, expected, atol=2e-4):
    """Fail where ``found``, in units of [0, 1], is not what a reference gave in levels, one line for each image."""
    np.testing.assert_allclose(255 * np.reshape(found, (len(expected), -1)).astype(float), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("images", "name"), [(digits, "digits_train_6000"), (cifar10, "cifar10_train_50000")])
def test_ops_takes_the_places_and_colours_of_the_reference(images, name):
    clean = images()
    poisoned = craft("ops", clean, Crafting(seed=0), settings={})
    changed = (poisoned.images != clean.images).any(1)
    for expected in numbers("ops")[name]:
        members = clean.labels == expected["class"]
        [(row, column)] = np.argwhere(changed[members].any(0))
        colour = poisoned.images[members][0, :, row, column] // 255
        assert (row, column, colour.tolist()) == (expected["row"], expected["column"], expected["colour"])


# ---- noise that no network decides


def test_lsp_is_the_noise_of_the_reference_before_it_is_added(monkeypatch):
    """The reference lays the numbers of an image out patch by patch, ours channel by channel: all are drawn alike."""
    monkeypatch.setattr("unlearnable.poisons.lsp.derive", lambda seed, purpose: 1)
    perturbation = POISONS["lsp"](labelled(20, classes=10), Crafting(), l2=6 / 255 * np.sqrt(3072))
    assert_levels(perturbation[:, :, ::8, ::8], numbers("lsp")["patches"])


class Drawn:
    """A generator whose normal draws are given."""

    def __init__(self, values):
        self.values = values

    def standard_normal(self, shape):
        assert self.values.shape == shape
        return self.values.copy()


@pytest.mark.parametrize(("name", "bound"), [("ar", {"l2": 1.0}), ("ar_linf", {"linf": 8 / 255})])
def test_ar_sweeps_as_the_reference(name, bound, monkeypatch):
    expected = numbers("ar")
    processes = np.reshape(expected["coefficients"], (3, 3, 8))
    starts = 3 * weights(3, 3, 12, 12).numpy().astype(float)
    monkeypatch.setattr("unlearnable.poisons.autoregressive.find_processes", lambda *settings: processes)
    monkeypatch.setattr("unlearnable.poisons.autoregressive.numpy_generator", lambda *seed: Drawn(starts.transpose(2, 3, 1, 0)))
    perturbation = POISONS[name](labelled(3, classes=3, side=8), Crafting(), **bound, search=Search())
    assert_levels(perturbation, expected["l2" if name == "ar" else "linf"])


def test_ar_filters_respond_as_those_of_the_reference():
    expected = numbers("ar")
    processes, signals = np.reshape(expected["coefficients"], (3, 3, 8)), np.reshape(expected["l2"], (3, 3, 8, 8)) / 255
    found = [[response(process, signal) for signal in signals] for process in processes]
    assert np.allclose(found, expected["responses"], atol=2e-4)


def test_cuda_filters_as_the_reference(monkeypatch):
    clean, expected = labelled(6, classes=3, side=8), numbers("cuda")
    kernels = np.reshape(expected["kernels"], (3, 3, 3)).astype(np.float32)
    monkeypatch.setattr("unlearnable.poisons.cuda._kernels", lambda *settings: kernels)
    assert_levels(clean.images / 255 + POISONS["cuda"](clean, Crafting(), blur=0.3), expected["images"], atol=1e-3)


def test_classwise_noise_is_the_uniform_draw_of_the_reference(monkeypatch):
    generator = SimpleNamespace(uniform=lambda low, high, size: low + (high - low) * fractions(*size))
    monkeypatch.setattr("unlearnable.poisons.synthetic.numpy_generator", lambda *seed: generator)
    perturbation = POISONS["classwise_random"](labelled(6, classes=3, side=8), Crafting(), linf=8 / 255)
    assert_levels(perturbation, numbers("classwise_random")["patterns"] * 2)


@pytest.mark.parametrize(("name", "side"), [("sign_regions_4", 2), ("sign_regions_16", 4), ("sign_regions_64", 8)])
def test_regions_of_corner_colours_are_those_of_the_reference(name, side, monkeypatch):
    drawn = weights(3, side, side, 3).permute(0, 3, 1, 2).numpy()  # the reference draws the channels last
    generator = SimpleNamespace(uniform=lambda low, high, size: high * drawn.reshape(size))
    monkeypatch.setattr("unlearnable.poisons.synthetic.numpy_generator", lambda *seed: generator)
    perturbation = POISONS[name](labelled(6, classes=3, side=8), Crafting(), linf=8 / 255)
    assert_levels(perturbation, numbers("sign_regions")[name] * 2)


# ---- noise that a network decides: one with weights set by hand, after a normalisation by round numbers

SURROGATE = Surrogate(model="set by hand", batch_size=6, learning_rate=0.01, precision="float32")


@pytest.fixture
def by_hand(monkeypatch):
    """Give every poison the network of the references' runs, and draws that both know."""
    monkeypatch.setattr("unlearnable.poisons.surrogate.build", lambda *name, **settings: network(classes=3))
    monkeypatch.setattr("unlearnable.poisons.surrogate.channel_statistics", lambda images: ([0.5, 0.45, 0.4], [0.25, 0.2, 0.3]))
    monkeypatch.setattr(torch, "randperm", lambda count, generator: torch.arange(count))
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.from_numpy(fractions(*torch.empty(*shape).shape)))


def muted():
    """Return images without black and white, near which a reference may leave noise outside of the range of pixels; ours is put back."""
    clean = labelled(6, classes=3, side=8)
    return replace(clean, images=clean.images // 2 + 64)


def recorded():
    rounds = []
    return rounds, Crafting(report=lambda number, measured: rounds.append(measured))


def test_em_samplewise_is_the_noise_of_the_reference(by_hand):
    expected, (rounds, crafting) = numbers("em_samplewise"), recorded()
    noise = ErrorMinimisation(steps=5, train_batches=1, stop_error=-1.0, rounds=3)
    perturbation = POISONS["em_samplewise"](muted(), crafting, surrogate=SURROGATE, noise=noise)
    assert_levels(perturbation, expected["noise"])
    assert [measured["train_error"] for measured in rounds] == pytest.approx(expected["errors"], abs=1e-6)


def test_em_classwise_is_the_noise_of_the_reference(by_hand):
    expected, (rounds, crafting) = numbers("em_classwise"), recorded()
    noise = ErrorMinimisation(train_batches=1, stop_error=-1.0, rounds=12)
    perturbation = POISONS["em_classwise"](muted(), crafting, surrogate=SURROGATE, noise=noise, portion=1.0)
    assert_levels(perturbation, expected["noise"] * 2)
    assert [measured["train_error"] for measured in rounds] == pytest.approx(expected["errors"], abs=1e-6)


def with_features(sequence):
    """Return that network as one that has features: what its linear layer takes."""
    *extractor, head = sequence
    model = ImageClassifier(nn.Sequential(*extractor), head.in_features, head.out_features)
    model.head = head
    return model


def test_mi_ue_is_the_noise_of_the_reference(by_hand, monkeypatch):
    expected, (rounds, crafting) = numbers("mi_ue"), recorded()
    monkeypatch.setattr("unlearnable.poisons.surrogate.build", lambda *name, **settings: with_features(network(classes=3)))
    perturbation = POISONS["mi_ue"](muted(), crafting, surrogate=replace(SURROGATE, weight_decay=1e-4), epochs=3)
    assert_levels(perturbation, expected["noise"], atol=1e-3)
    assert [measured["loss"] for measured in rounds] == pytest.approx(expected["losses"], abs=1e-5)


def test_aue_is_the_noise_of_the_reference(by_hand, monkeypatch):
    """With the same moves of images in place of the random views of both."""
    expected, (rounds, crafting), times = numbers("aue"), recorded(), itertools.count()
    monkeypatch.setattr("unlearnable.poisons.augmented.strong_view", lambda images, **settings: moved(images, next(times)))
    perturbation = POISONS["aue"](muted(), crafting, surrogate=replace(SURROGATE, weight_decay=1e-4), epochs=3)
    assert_levels(perturbation, expected["noise"])
    assert [measured["loss"] for measured in rounds] == pytest.approx(expected["losses"], abs=1e-4)


def test_aap_is_the_noise_of_the_reference(by_hand, monkeypatch):
    """With the same moves of images in place of the random views of both."""
    expected, (rounds, crafting), times = numbers("aap"), recorded(), itertools.count()
    monkeypatch.setattr("unlearnable.poisons.augmented.strong_view", lambda images, **settings: moved(images, next(times)))
    surrogate, attack = replace(SURROGATE, weight_decay=1e-4), Steps(step=0.8 / 255, steps=25)
    perturbation = POISONS["aap"](muted(), crafting, surrogate=surrogate, epochs=6, warm_up=3, attack=attack)
    assert_levels(perturbation, expected["noise"])
    assert [measured["loss"] for measured in rounds] == pytest.approx(expected["losses"], abs=1e-5)


def test_ops_plus_em_is_the_sum_of_the_reference(by_hand):
    clean, expected = replace(muted(), images=planted()), numbers("ops_plus_em")
    noise = ErrorMinimisation(steps=5, train_batches=1, stop_error=-1.0, rounds=3)
    perturbation = POISONS["ops_plus_em"](clean, Crafting(), surrogate=SURROGATE, noise=noise)
    assert_levels(perturbation, expected["perturbation"])
    for shortcut in expected["shortcuts"]:
        members = clean.labels == shortcut["class"]
        written = (clean.images / 255 + perturbation)[members][:, :, shortcut["row"], shortcut["column"]]
        assert np.allclose(written, shortcut["colour"], atol=1e-6)


@pytest.mark.parametrize("name", ["tap", "error_max"])
def test_adversarial_noise_is_that_of_the_reference(name, by_hand, monkeypatch):
    """From a start inside of the range of pixels: the reference puts no other one back into it before its first step, ours does."""
    monkeypatch.setattr(torch, "randn", lambda shape, generator: inward(pixels(4, side=8)))
    monkeypatch.setattr(Workshop, "train", lambda workshop: None)
    attack = Attack(steps=12, restarts=1, shift=0.0)
    perturbation = POISONS[name](labelled(4, classes=3, side=8), Crafting(), surrogate=SURROGATE, attack=attack)
    assert_levels(perturbation, numbers(name)["noise"])


def test_the_augmentation_of_tap_samples_as_that_of_the_reference(monkeypatch):
    """Its draws say by how much an image is moved before it is mirrored, ours afterwards."""
    expected = numbers("tap")
    x, y, mirrored = torch.tensor(expected["draws"]).T
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.stack([torch.where(mirrored > 0.5, 1 - x, x), y, 1 - mirrored]))
    moved_images = shift_and_flip(torch.from_numpy(pixels(4)) / 255, 4.0, torch.Generator())
    assert_levels(moved_images[:, :, ::7, ::7].numpy(), expected["moved"], atol=2e-3)


def test_hypo_is_the_noise_of_the_reference(by_hand, monkeypatch):
    monkeypatch.setattr(Workshop, "train", lambda workshop: None)
    attack = Attack(step=8 / 255 / 5, steps=7, restarts=1, shift=0.0)
    perturbation = POISONS["hypo"](labelled(4, classes=3, side=8), Crafting(), surrogate=SURROGATE, attack=attack)
    assert_levels(perturbation, numbers("hypo")["noise"])


def three_checkpoints(workshop):
    """Yield three epochs; in each but the first the numbers of every parameter move one place on."""
    for epoch in (1, 2, 3):
        if epoch > 1:
            with torch.no_grad():
                for parameter in workshop.trainer.model.parameters():
                    parameter.copy_(parameter.flatten().roll(1).view_as(parameter))
        yield epoch


@pytest.mark.parametrize(("draws", "steps", "expected"), [(0, 4, "without_draws"), (4, 3, "noise")])
def test_sep_is_the_noise_of_the_reference(draws, steps, expected, by_hand, monkeypatch):
    drawn = iter(numbers("sep")["draws"])
    monkeypatch.setattr("unlearnable.poisons.surrogate.build", lambda *name, **settings: with_features(network(classes=10)))
    monkeypatch.setattr(Workshop, "epochs", three_checkpoints)
    monkeypatch.setattr(torch, "randint", lambda high, size, generator: torch.tensor([next(drawn) for _ in range(*size)]))
    clean = labelled(10, classes=10, side=8)
    clean = replace(clean, images=clean.images // 2 + 64)
    noise = Steps(linf=2 / 255, step=1 / 255, steps=steps)
    perturbation = POISONS["sep"](clean, Crafting(), surrogate=SURROGATE, epochs=3, checkpoints=3, draws=draws, noise=noise)
    assert_levels(perturbation, numbers("sep")[expected])


def generator_by_hand(*settings):
    """Return the generator of bait with weights set by hand."""
    made = Generator(*settings)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.3 * weights(*parameter.shape))
    return made


def test_bait_is_the_noise_of_the_reference(by_hand, monkeypatch):
    """With the same moves of images in place of the random crops of both, and the same draws of wrong labels."""
    expected, (rounds, crafting), times = numbers("bait"), recorded(), itertools.count()
    clean = labelled(6, classes=3, side=16)
    wrong = iter(expected["wrong"])
    monkeypatch.setattr("unlearnable.poisons.surrogate.build", lambda *name, **settings: network(classes=3, side=16))
    monkeypatch.setattr("unlearnable.poisons.binding.Generator", generator_by_hand)
    monkeypatch.setattr("unlearnable.poisons.binding.augment", lambda images, *recipe: moved(images, next(times)))
    monkeypatch.setattr(torch, "randint", lambda low, high, shape, generator: torch.tensor(next(wrong)) - torch.from_numpy(clean.labels))
    perturbation = POISONS["bait"](
        replace(clean, images=clean.images // 2 + 64),
        crafting,
        rounds=6,
        surrogate=replace(SURROGATE, gradient_clip=5.0),
        generator=Generation(width=1, blocks=2),
    )
    assert [measured["loss"] for measured in rounds] == pytest.approx(expected["losses"], abs=1e-4)
    assert_levels(perturbation[:, :, ::2, ::2], expected["noise"] * 2, atol=5e-3)


def test_rem_is_the_noise_of_the_reference(by_hand, monkeypatch):
    expected, (rounds, crafting), times = numbers("rem"), recorded(), itertools.count()
    monkeypatch.setattr("unlearnable.poisons.surrogate.channel_statistics", lambda images: ([0.5] * 3, [1.0] * 3))
    monkeypatch.setattr("unlearnable.poisons.robust_error_minimising.augment", lambda images, *recipe: moved(images, next(times)))
    perturbation = POISONS["rem"](
        muted(),
        crafting,
        surrogate=replace(SURROGATE, learning_rate=0.05),
        train_steps=3,
        decay_every=2,
        defender=Steps(linf=8 / 255, step=1.6 / 255, steps=3),
        adversary=Steps(linf=4 / 255, step=0.8 / 255, steps=2),
        transformations=2,
    )
    assert [measured["loss"] for measured in rounds] == pytest.approx(expected["losses"], abs=2e-5)
    assert_levels(perturbation, expected["noise"])


def test_ntga_is_the_noise_of_the_reference(by_hand):
    """One step of the whole budget is what the ten steps of the reference come to."""
    perturbation = POISONS["ntga"](labelled(8, classes=3, side=8), Crafting(), linf=8 / 255, step=8 / 255, steps=1, block_size=4)
    assert_levels(perturbation, numbers("ntga")["noise"])


def test_the_kernel_and_the_prediction_of_ntga_are_those_of_the_reference():
    expected, clean = numbers("ntga"), labelled(8, classes=3, side=8)
    images = torch.from_numpy(clean.images / 255).flatten(1)
    target = F.one_hot(torch.from_numpy(clean.labels), 3).double()
    for number, (block, others) in enumerate(((slice(4), slice(4, 8)), (slice(4, 8), slice(4)))):
        kernel = tangent_kernel(images[block], images[others], 5)
        predicted = prediction(images[block], target[block], images[others], layers=5, time=64.0, regularisation=1e-4)
        assert np.allclose(kernel, expected["kernels"][number], rtol=1e-10)
        assert np.allclose(predicted, expected["predictions"][number], rtol=1e-10)


def test_pil_is_the_noise_of_the_reference(by_hand, monkeypatch):
    expected, clean, linear = numbers("pil"), labelled(8, classes=3, side=8), torch.nn.Linear(192, 3, bias=False)
    linear.weight.data = 0.1 * weights(3, 192)
    monkeypatch.setattr("unlearnable.poisons.pil._linear", lambda *settings: linear)
    perturbation = POISONS["pil"](clean, Crafting(), linf=8 / 255, step=0.8 / 255, steps=12, epochs=4, learning_rate=0.01, batch_size=5)
    assert np.allclose(linear.weight.detach()[:, :12], expected["weights"], atol=2e-6)
    changed = (clean.images / 255 + perturbation).clip(0, 1) - clean.images / 255  # the reference cuts images off, ours ``apply``
    assert_levels(changed, expected["noise"])
