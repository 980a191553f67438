"""Certified learnability: which accuracy is the bound, that the bound holds, and what noise does to a network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta, norm

from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.probes import LearnabilityRecipe, learnability
from unlearnable.probes.learnability import noisy, upper_bound
from unlearnable.training import Checkpoint, Network, TrainingRecipe

CPU = torch.device("cpu")
RECIPE = LearnabilityRecipe(draws=3, deviation=0.5, radii=[0.0])
TRAINING = TrainingRecipe(precision="float32")
IMAGES = make_images(30, classes=3)
STATISTICS = channel_statistics(IMAGES)


def test_the_bound_of_a_hand_computed_case():
    """Of 7 accuracies, the largest is below their median in 1 of 128 cases, so it is a bound with 99 %; of 6 it is not: 1 of 64.

    Within one deviation, the quantile 0.158655 becomes the median, as Phi(-1 + 1) is a half.
    """
    accuracies = [0.3, 0.7, 0.1, 0.2, 0.6, 0.5, 0.4]
    for quantile, radius in ((0.5, 0.0), (0.15865525393145707, 0.5)):
        recipe = replace(RECIPE, quantile=quantile)
        assert upper_bound(accuracies, radius, recipe) == 0.7
        assert upper_bound(accuracies[:6], radius, recipe) is None
        assert upper_bound(accuracies, 100.0, recipe) is None


@pytest.mark.parametrize(("draws", "quantile", "radius"), [(1000, 0.9, 0.0), (1000, 0.9, 0.25), (100, 0.7, 0.1), (400, 0.5, 0.4)])
def test_the_bound_is_the_first_order_statistic_that_is_high_enough(draws, quantile, radius):
    """The k-th of n uniform numbers has the distribution Beta(k, n - k + 1), so it is above p with the probability that this is."""
    p = norm.cdf(norm.ppf(quantile) + radius / 0.5)
    sure = [k for k in range(1, draws + 1) if beta.sf(p, k, draws - k + 1) >= 0.99]
    assert upper_bound(list(range(1, draws + 1)), radius, replace(RECIPE, quantile=quantile)) == sure[0]


def test_the_bound_holds_for_a_network_that_is_moved_straight_uphill():
    """Where accuracy rises linearly, noise makes it normal, and the worst move of a radius adds just that radius to every quantile."""
    rng, recipe, radius = np.random.default_rng(0), replace(RECIPE, quantile=0.8), 0.3
    moved = radius + 0.5 * norm.ppf(0.8)
    bounds = [upper_bound(rng.normal(0, 0.5, 200), radius, recipe) for _ in range(200)]
    assert np.mean([bound >= moved for bound in bounds]) == pytest.approx(0.99, abs=0.02)


def network():
    return Network(build("tiny_cnn", shape=IMAGES.shape, num_classes=3, seed=0), STATISTICS, CPU, "float32")


def test_noise_of_the_deviation_is_on_every_weight_and_goes_again():
    asked = network()
    before = {name: value.clone() for name, value in asked.model.state_dict().items()}
    seen = []
    for _ in noisy(asked, RECIPE, seed=1):
        moved = [weight.detach() - before[name] for name, weight in asked.model.named_parameters()]
        seen.append(torch.cat([each.flatten() for each in moved]))
        assert all(each.all() for each in moved)
    assert [float(each.std()) for each in seen] == pytest.approx([0.5] * 3, rel=0.02)
    assert abs(float(torch.corrcoef(torch.stack(seen))[0, 1])) < 0.02
    assert all(value.equal(before[name]) for name, value in asked.model.state_dict().items())


def ask(**changes):
    checkpoint = Checkpoint(epoch=1, epochs=1, state=network().model.state_dict(), history=[])
    given = {"model": "tiny_cnn", "training": TRAINING, "recipe": RECIPE, "normalisation": STATISTICS, "seed": 1, "device": CPU}
    return learnability(checkpoint, IMAGES, **given | changes)


def test_accuracies_are_those_under_noise_and_reproducible(global_generators_untouched):
    steps = []
    found = ask(progress=lambda done, total: steps.append((done, total)))
    assert {**ask(), "seconds": 0} == {**found, "seconds": 0}
    assert ask(seed=2)["accuracies"] != found["accuracies"] == sorted(found["accuracies"])
    quiet = ask(recipe=replace(RECIPE, deviation=1e-9))
    assert quiet["accuracies"] == [quiet["plain_accuracy"]] * 3 == [found["plain_accuracy"]] * 3
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert found["bounds"] == {"0": None}  # of three draws


def test_a_checkpoint_of_another_network_is_one_line():
    with pytest.raises(InputError, match=r"^checkpoint of epoch 1: expected the weights of 'small_cnn', got others: "):
        ask(model="small_cnn")
