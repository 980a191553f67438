import numpy as np
import pytest
import torch

from tests.conftest import make_images
from tests.recoveries.test_battery import settings_of
from unlearnable.errors import DivergedError, InputError
from unlearnable.images import LabelledImages
from unlearnable.metrics import captured_energy, mean_perturbations
from unlearnable.poisons import Crafting, craft
from unlearnable.recoveries import RECOVERIES, recover
from unlearnable.recoveries.orthogonal_projection import OrthogonalProjection, orthonormal_basis
from unlearnable.training import device as devices
from unlearnable.training.pixels import project_out_, resident

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def poisoned() -> LabelledImages:
    return craft("lsp", make_images(300, classes=5), Crafting(seed=0), settings={"l2": 1.5})


@pytest.fixture(params=[False, True], ids=["reference", "centred"])
def linear(request, poisoned):
    return OrthogonalProjection(centred=request.param).fit(poisoned, seed=0, device=CPU)


@pytest.fixture
def projection(linear):
    return OrthogonalProjection().directions_of(linear)


def flat(images: LabelledImages) -> torch.Tensor:
    return torch.from_numpy(images.images).flatten(1).double() / 255


def test_what_is_left_is_orthogonal_to_what_was_removed(poisoned, linear, projection):
    left = project_out_(flat(poisoned), projection) - torch.from_numpy(projection.centre)
    basis = torch.from_numpy(projection.basis).double()
    assert (left @ basis).abs().max() < 1e-5
    assert (left @ torch.from_numpy(linear.weights[0]).double().T).abs().max() < 1e-5


def test_clipping_afterwards_puts_part_of_it_back(poisoned, projection):
    """The twin of the test above: it can fail, and this is the published recipe's oddity."""
    clipped = project_out_(flat(poisoned), projection).clamp(0.2, 0.4) - torch.from_numpy(projection.centre)
    assert (clipped @ torch.from_numpy(projection.basis).double()).abs().max() > 1e-2


def test_removing_a_subspace_twice_is_removing_it_once(poisoned, projection):
    once = project_out_(flat(poisoned), projection)
    assert torch.allclose(project_out_(once.clone(), projection), once, atol=1e-6)


def test_it_is_the_formula_of_the_paper(poisoned, projection):
    images, basis, centre = flat(poisoned), *(torch.from_numpy(v).double() for v in (projection.basis, projection.centre))
    expected = images - (images - centre) @ basis @ basis.T
    assert torch.allclose(project_out_(images.clone(), projection), expected, atol=1e-6)


def test_the_basis_is_orthonormal_and_spans_the_weights(linear, projection):
    basis = projection.basis.astype(float)
    assert np.allclose(basis.T @ basis, np.eye(5), atol=1e-5)
    rows = linear.weights[0] / np.linalg.norm(linear.weights[0], axis=1, keepdims=True)
    assert np.allclose(rows @ basis @ basis.T, rows, atol=1e-5)


def test_weights_that_repeat_each_other_remove_fewer_directions():
    weights = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    weights[3] = weights[0] * 2 - weights[1]
    basis = orthonormal_basis(weights)
    assert basis.shape == (30, 3)
    assert torch.allclose(basis @ (basis.T @ weights.T), weights.T, atol=1e-5)


def test_a_centred_fit_keeps_the_mean_image(poisoned):
    recovery = OrthogonalProjection(centred=True)
    projection = recovery.directions_of(recovery.fit(poisoned, seed=0, device=CPU))
    mean = flat(poisoned).mean(0)
    assert torch.allclose(torch.from_numpy(projection.centre).double(), mean, atol=1e-6)
    assert torch.allclose(project_out_(mean[None].clone(), projection)[0], mean, atol=1e-6)


def test_it_captures_a_class_wise_perturbation_better_than_chance(poisoned, projection):
    means = mean_perturbations(make_images(300, classes=5), poisoned).reshape(5, -1)
    random = np.linalg.qr(np.random.default_rng(0).normal(size=(means.shape[1], 5)))[0].astype(np.float32)
    assert captured_energy(projection.basis, means) > 10 * captured_energy(random, means)


def test_the_fit_is_plain_gradient_descent_on_the_softmax_loss(poisoned):
    """Two epochs in the set's own order, against torch's own linear layer and optimiser."""
    ours = OrthogonalProjection(epochs=2, batch_size=128, milestones=[1]).fit(poisoned, seed=0, device=CPU)
    first = OrthogonalProjection(epochs=1, batch_size=128, learning_rate=1e-12).fit(poisoned, seed=0, device=CPU)
    weights = torch.from_numpy(first.weights[0]).clone().requires_grad_()
    optimiser = torch.optim.SGD([weights], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [1])
    for _ in range(2):
        for images, labels in zip(flat(poisoned).float().split(128), torch.from_numpy(poisoned.labels).split(128), strict=True):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(images @ weights.T, labels).backward()
            optimiser.step()
        schedule.step()
    assert np.allclose(ours.weights[0], weights.detach().numpy(), atol=1e-5)


def basis_of(poisoned, directions, **settings):
    recovery = OrthogonalProjection(directions=directions, **settings)
    basis = recovery.directions_of(recovery.fit(poisoned, seed=0, device=CPU)).basis
    assert np.allclose(basis.T @ basis, np.eye(directions), atol=1e-5)
    return basis


def test_fewer_directions_are_the_leading_ones_of_the_weights(poisoned, linear):
    recovery = OrthogonalProjection(directions=2, centred=bool(linear.centre.any()))
    fewer = recovery.fit(poisoned, seed=0, device=CPU)
    rows = linear.weights[0] / np.linalg.norm(linear.weights[0], axis=1, keepdims=True)
    expected = np.linalg.svd(rows.T.astype(float), full_matrices=False)[0][:, :2]
    assert np.allclose(np.abs(recovery.directions_of(fewer).basis.T @ expected), np.eye(2), atol=1e-4)
    assert np.array_equal(fewer.weights, linear.weights)
    assert fewer.train_accuracy == linear.train_accuracy
    assert np.array_equal(fewer.centre, linear.centre)


def test_as_many_directions_as_classes_are_the_span_of_the_weights(poisoned):
    recovery = OrthogonalProjection()
    all_of_them = recovery.directions_of(recovery.fit(poisoned, seed=0, device=CPU)).basis
    assert np.allclose(np.linalg.svd(basis_of(poisoned, 5).T @ all_of_them)[1], 1, atol=1e-5)


def test_more_directions_begin_with_fewer_and_come_from_what_is_left(poisoned):
    fewer, more = basis_of(poisoned, 3), basis_of(poisoned, 12)
    assert np.array_equal(more[:, :3], fewer)
    assert np.array_equal(more[:, :7], basis_of(poisoned, 7))
    images = flat(poisoned).numpy()
    left = images - images @ more[:, :5] @ more[:, :5].T
    means = np.stack([left[poisoned.labels == label].mean(0) for label in range(5)]) - left.mean(0)
    random = np.linalg.qr(np.random.default_rng(0).normal(size=(means.shape[1], 5)))[0].astype(np.float32)
    assert captured_energy(more[:, 5:10], means) > 10 * captured_energy(random, means)


def test_each_further_model_sees_the_images_without_what_was_found(poisoned, monkeypatch):
    seen, size = [], poisoned.images[0].size

    def descended(self, first, pixels, labels, view, generator):
        seen.append(view(pixels))
        return torch.eye(5, size) if len(seen) == 1 else torch.randn(5, size, generator=torch.Generator().manual_seed(len(seen)))

    monkeypatch.setattr(OrthogonalProjection, "_descended", descended)
    basis = torch.from_numpy(basis_of(poisoned, 15))
    assert len(seen) == 3
    rows = flat(poisoned).float()
    for found, images in zip((0, 5, 10), seen, strict=True):
        assert torch.allclose(images, rows - rows @ basis[:, :found] @ basis[:, :found].T, atol=1e-5)


def test_all_directions_may_be_removed_and_no_more():
    images = make_images(40, classes=3, side=2)
    recovery = OrthogonalProjection(directions=12)
    left = project_out_(flat(images), recovery.directions_of(recovery.fit(images, seed=0, device=CPU)))
    assert basis_of(images, 12).shape == (12, 12)
    assert left.abs().max() < 1e-5
    with pytest.raises(InputError, match=r"recover.orthogonal_projection.directions: expected at most 12, the numbers of an image, got 13"):
        recover("orthogonal_projection", images, seed=0, device=CPU, settings={"directions": 13})


def test_a_model_that_diverges_has_no_directions():
    with pytest.raises(DivergedError, match=r"linear model: expected finite weights.*recover.orthogonal_projection.learning_rate"):
        OrthogonalProjection(directions=4, learning_rate=1e38).fit(make_images(40, classes=3), seed=0, device=CPU)


@pytest.mark.parametrize("name", RECOVERIES)
def test_every_recovery_is_reproducible_and_leaves_its_input_alone(name, poisoned, global_generators_untouched):
    before = poisoned.images.copy()
    first, second = (recover(name, poisoned, clean=poisoned, seed=1, device=CPU, settings=settings_of(name, poisoned)) for _ in range(2))
    assert torch.equal(resident(first, CPU), resident(second, CPU))
    assert np.array_equal(poisoned.images, before)
    assert np.array_equal(first.labels, poisoned.labels)


def test_no_recovery_is_the_poisoned_set(poisoned):
    recovered = recover("none", poisoned, seed=0, device=CPU, settings={})
    assert recovered.projection is None
    assert np.array_equal(recovered.images, poisoned.images)


def test_a_shuffled_fit_is_another_fit(poisoned):
    ordered, shuffled = (
        OrthogonalProjection(shuffle=shuffle, batch_size=64).fit(poisoned, seed=0, device=CPU).weights for shuffle in (False, True)
    )
    assert not np.allclose(ordered, shuffled)


def test_projected_images_stay_unclipped_floats_on_the_device(poisoned):
    recovered = recover("orthogonal_projection", poisoned, seed=0, device=CPU, settings={})
    pixels = resident(recovered, CPU)
    assert pixels.dtype == torch.float32
    assert resident(poisoned, CPU).dtype == torch.uint8
    assert pixels.min() < 0 or pixels.max() > 1 or not torch.equal((pixels * 255).round(), pixels * 255)


def test_test_images_are_projected_where_that_is_asked_for(poisoned):
    test = make_images(20, classes=5, seed=1)
    for asked in (False, True):
        recovery = OrthogonalProjection(project_test=asked)
        recovered = recovery.recovered(poisoned, seed=0, device=CPU)
        assert recovery.test(test, recovered).projection is (recovered.projection if asked else None)


def test_a_set_that_would_fill_the_card_stays_on_the_host_and_is_fitted_the_same(poisoned, monkeypatch):
    fit = OrthogonalProjection(epochs=2, centred=True).fit
    there = fit(poisoned, seed=0, device=CPU)
    monkeypatch.setattr(devices, "has_room", lambda device, size: False)
    assert np.array_equal(fit(poisoned, seed=0, device=CPU).weights, there.weights)
