import numpy as np
import pytest
import torch

from tests.conftest import make_images
from unlearnable.images import LabelledImages
from unlearnable.metrics import captured_energy, mean_perturbations
from unlearnable.poisons import Crafting, craft
from unlearnable.recoveries import RECOVERIES, recover
from unlearnable.recoveries.orthogonal_projection import OrthogonalProjection, orthonormal_basis
from unlearnable.training.device import project_out_, resident

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def poisoned() -> LabelledImages:
    return craft("lsp", make_images(300, classes=5), Crafting(seed=0), settings={"l2": 1.5})


@pytest.fixture(params=[False, True], ids=["reference", "centred"])
def linear(request, poisoned):
    return OrthogonalProjection(centred=request.param).fit(poisoned, seed=0, device=CPU)


def flat(images: LabelledImages) -> torch.Tensor:
    return torch.from_numpy(images.images).flatten(1).double() / 255


def test_what_is_left_is_orthogonal_to_what_was_removed(poisoned, linear):
    left = project_out_(flat(poisoned), linear.projection) - torch.from_numpy(linear.projection.centre)
    basis = torch.from_numpy(linear.projection.basis).double()
    assert (left @ basis).abs().max() < 1e-5
    assert (left @ torch.from_numpy(linear.weights).double().T).abs().max() < 1e-5


def test_clipping_afterwards_puts_part_of_it_back(poisoned, linear):
    """The twin of the test above: it can fail, and this is the published recipe's oddity."""
    clipped = project_out_(flat(poisoned), linear.projection).clamp(0.2, 0.4) - torch.from_numpy(linear.projection.centre)
    assert (clipped @ torch.from_numpy(linear.projection.basis).double()).abs().max() > 1e-2


def test_removing_a_subspace_twice_is_removing_it_once(poisoned, linear):
    once = project_out_(flat(poisoned), linear.projection)
    assert torch.allclose(project_out_(once.clone(), linear.projection), once, atol=1e-6)


def test_it_is_the_formula_of_the_paper(poisoned, linear):
    images, basis, centre = flat(poisoned), *(torch.from_numpy(v).double() for v in (linear.projection.basis, linear.projection.centre))
    expected = images - (images - centre) @ basis @ basis.T
    assert torch.allclose(project_out_(images.clone(), linear.projection), expected, atol=1e-6)


def test_the_basis_is_orthonormal_and_spans_the_weights(linear):
    basis = linear.projection.basis.astype(float)
    assert np.allclose(basis.T @ basis, np.eye(5), atol=1e-5)
    rows = linear.weights / np.linalg.norm(linear.weights, axis=1, keepdims=True)
    assert np.allclose(rows @ basis @ basis.T, rows, atol=1e-5)


def test_weights_that_repeat_each_other_remove_fewer_directions():
    weights = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    weights[3] = weights[0] * 2 - weights[1]
    basis = orthonormal_basis(weights)
    assert basis.shape == (30, 3)
    assert torch.allclose(basis @ (basis.T @ weights.T), weights.T, atol=1e-5)


def test_a_centred_fit_keeps_the_mean_image(poisoned):
    projection = OrthogonalProjection(centred=True).fit(poisoned, seed=0, device=CPU).projection
    mean = flat(poisoned).mean(0)
    assert torch.allclose(torch.from_numpy(projection.centre).double(), mean, atol=1e-6)
    assert torch.allclose(project_out_(mean[None].clone(), projection)[0], mean, atol=1e-6)


def test_it_captures_a_class_wise_perturbation_better_than_chance(poisoned, linear):
    means = mean_perturbations(make_images(300, classes=5), poisoned).reshape(5, -1)
    random = np.linalg.qr(np.random.default_rng(0).normal(size=(means.shape[1], 5)))[0].astype(np.float32)
    assert captured_energy(linear.projection.basis, means) > 10 * captured_energy(random, means)


def test_the_fit_is_plain_gradient_descent_on_the_softmax_loss(poisoned):
    """Two epochs in the set's own order, against torch's own linear layer and optimiser."""
    ours = OrthogonalProjection(epochs=2, batch_size=128, milestones=[1]).fit(poisoned, seed=0, device=CPU)
    first = OrthogonalProjection(epochs=1, batch_size=128, learning_rate=1e-12).fit(poisoned, seed=0, device=CPU)
    weights = torch.from_numpy(first.weights).clone().requires_grad_()
    optimiser = torch.optim.SGD([weights], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [1])
    for _ in range(2):
        for images, labels in zip(flat(poisoned).float().split(128), torch.from_numpy(poisoned.labels).split(128), strict=True):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(images @ weights.T, labels).backward()
            optimiser.step()
        schedule.step()
    assert np.allclose(ours.weights, weights.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("name", RECOVERIES)
def test_every_recovery_is_reproducible_and_leaves_its_input_alone(name, poisoned, global_generators_untouched):
    before = poisoned.images.copy()
    (first, recovered), (second, _) = (recover(name, poisoned, seed=1, device=CPU, settings={}) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(poisoned.images, before)
    assert np.array_equal(recovered.labels, poisoned.labels)


def test_no_recovery_is_the_poisoned_set(poisoned):
    linear, recovered = recover("none", poisoned, seed=0, device=CPU, settings={})
    assert linear.projection.removed_directions == 0
    assert recovered.projection is None
    assert np.array_equal(recovered.images, poisoned.images)


def test_a_shuffled_fit_is_another_fit(poisoned):
    ordered, shuffled = (
        OrthogonalProjection(shuffle=shuffle, batch_size=64).fit(poisoned, seed=0, device=CPU).weights for shuffle in (False, True)
    )
    assert not np.allclose(ordered, shuffled)


def test_projected_images_stay_unclipped_floats_on_the_device(poisoned):
    _, recovered = recover("orthogonal_projection", poisoned, seed=0, device=CPU, settings={})
    pixels = resident(recovered, CPU)
    assert pixels.dtype == torch.float32
    assert resident(poisoned, CPU).dtype == torch.uint8
    assert pixels.min() < 0 or pixels.max() > 1 or not torch.equal((pixels * 255).round(), pixels * 255)


def test_test_images_are_projected_where_that_is_asked_for(poisoned):
    test = make_images(20, classes=5, seed=1)
    for asked in (False, True):
        recovery = OrthogonalProjection(project_test=asked)
        _, recovered = recovery.recovered(poisoned, seed=0, device=CPU)
        assert recovery.test(test, recovered).projection is (recovered.projection if asked else None)
