"""Muon orthogonalises the steps of convolutions after the first, and leaves those of all else."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import unlearnable
from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import channel_statistics
from unlearnable.models import ImageClassifier, build, require_takes
from unlearnable.training import TrainingRecipe, fit, trainer
from unlearnable.training.muon import muon, orthogonal

CPU = torch.device("cpu")
IMAGES = make_images(40, classes=4)
RECIPE = TrainingRecipe(epochs=1, batch_size=20, learning_rate=0.05, precision="float32", muon=0.1)


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_a_matrix_keeps_its_directions_and_its_singular_values_come_near_to_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    assert values.min() / matrix.norm() > 0.02  # below, three iterations do not bring one up
    turned = left.T @ orthogonal(matrix) @ right.T
    assert torch.allclose(turned, turned.diagonal().diag(), atol=1e-12)
    assert (turned.diagonal() > 0.65).all()
    assert (turned.diagonal() < 1.25).all()


def test_a_matrix_of_zeros_stays():
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


def two_convolutions() -> ImageClassifier:
    layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten())
    return ImageClassifier(layers, 8, num_classes=4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_torch_on_the_matrix_of_a_convolution_and_of_sgd_elsewhere(layout):
    """torch's Muon takes matrices alone, keeps no norm, and computes in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    shared = {"momentum": 0.8, "nesterov": True}
    model, twin = (two_convolutions().to(memory_format=layout) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    ours = muon(model, rate=0.1, lr=0.03, weight_decay=0.01, **shared)
    sgd = torch.optim.SGD(twin.parameters(), lr=0.03, weight_decay=0.01, **shared)
    matrix = nn.Parameter(model.extractor[2].weight.detach().flatten(1).clone())
    theirs = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.0, ns_steps=3, **shared)
    for _ in range(4):
        for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            other.grad = parameter.grad.clone()
        matrix.grad = model.extractor[2].weight.grad.flatten(1)
        with torch.no_grad():
            matrix *= 8**0.5 / matrix.norm()
        for optimiser in (ours, sgd, theirs):
            optimiser.step()
        assert torch.allclose(model.extractor[2].weight.flatten(1), matrix, atol=0.003)  # steps are of 0.1
        with torch.no_grad():
            matrix.copy_(model.extractor[2].weight.flatten(1))
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert name == "extractor.2.weight" or torch.equal(parameter, other)


def first_weights(model: str) -> dict[str, torch.Tensor]:
    return build(model, shape=IMAGES.shape, num_classes=4, seed=0).state_dict()


def trained(recipe: TrainingRecipe, model: str = "tiny_cnn") -> dict[str, torch.Tensor]:
    network = build(model, shape=IMAGES.shape, num_classes=4, seed=0)
    return list(fit(network, IMAGES, IMAGES, recipe=recipe, normalisation=channel_statistics(IMAGES), seed=0, device=CPU))[-1].state


@pytest.mark.parametrize("model", ["tiny_cnn", "fast_cnn", "resnet18"])
def test_convolutions_after_the_first_get_the_norm_that_is_theirs(model):
    """At a rate near zero nothing but the norm changes; a whitening is the first convolution."""
    nearly = trained(replace(RECIPE, muon=1e-9, learning_rate=1e-9), model)
    convolutions = {name: weight for name, weight in first_weights(model).items() if weight.ndim == 4}
    (first, weight), *later = convolutions.items()
    assert model == "fast_cnn" or torch.allclose(nearly[first], weight, atol=1e-6)
    assert later
    for name, weight in later:
        assert torch.allclose(nearly[name], weight * len(weight) ** 0.5 / weight.norm(), atol=1e-5)


def test_what_is_frozen_stays():
    state = trained(replace(RECIPE, freeze="all but the head"))
    assert all(torch.equal(state[name], weight) for name, weight in first_weights("tiny_cnn").items() if not name.startswith("head"))


def test_its_rate_follows_the_schedule(monkeypatch):
    rates = []

    def seen(*given, **settings):
        optimiser = muon(*given, **settings)
        optimiser.register_step_pre_hook(lambda *_: rates.append([group["lr"] for group in optimiser.param_groups]))
        return optimiser

    monkeypatch.setattr(trainer, "muon", seen)
    trained(replace(RECIPE, epochs=2, schedule="multistep", milestones=[1], gamma=0.5))
    assert rates == [[0.05, 0.1]] * 2 + [[0.025, 0.05]] * 2


def test_what_follows_its_steps_sees_weights():
    """Projected fine-tuning brings them back to a ball after each step."""
    model = two_convolutions()
    optimiser, kernel, seen = muon(model, rate=0.1, lr=0.1), model.extractor[2].weight, []
    optimiser.register_step_post_hook(lambda *_: seen.append(kernel.detach().clone()))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert len(seen) == 1
    assert torch.equal(seen[0], kernel)
    assert kernel.norm() > 2  # a step has a norm of 0.1


def test_a_network_without_later_convolutions_is_refused():
    with pytest.raises(InputError, match=r"^train\.muon: expected a network with two convolutions or more, got model 'vit_patch8'$"):
        require_takes("vit_patch8", IMAGES.shape, muon=0.1)
    require_takes("vit_patch8", IMAGES.shape)
    require_takes("tiny_cnn", IMAGES.shape, muon=0.1)


def test_adam_is_refused():
    with pytest.raises(InputError, match=r"^muon: expected optimiser 'sgd' for all else, got 'adam'$"):
        unlearnable.train("tiny_cnn", IMAGES, IMAGES, epochs=1, batch_size=20, muon=0.1, optimiser="adam")
