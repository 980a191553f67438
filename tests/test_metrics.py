import numpy as np
import pytest
import torch

from tests.conftest import make_images
from unlearnable.metrics import accuracy, captured_energy, mean_perturbations, paired_difference
from unlearnable.poisons import apply


def test_accuracy_is_a_fraction():
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [0.0, 9.0]])
    assert accuracy(logits, torch.tensor([1, 0, 1, 0])) == 0.75  # and the error is not


def test_mean_perturbations_are_those_of_each_class():
    clean = make_images(60, classes=3)
    steps = np.array([0, 2, 10], dtype=np.float32)[clean.labels] / 255
    poisoned = apply(clean, np.broadcast_to(steps[:, None, None, None], clean.images.shape))
    means = mean_perturbations(clean, poisoned)
    assert means.shape == (3, 3, 16, 16)
    assert means.mean((1, 2, 3)) * 255 == pytest.approx([0, 2, 10])


def test_energy_is_split_between_a_space_and_its_complement():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0].astype(np.float32)
    vectors = np.random.default_rng(1).normal(size=(4, 6))
    assert captured_energy(basis, vectors) == pytest.approx(1)
    assert captured_energy(basis[:, :2], vectors) + captured_energy(basis[:, 2:], vectors) == pytest.approx(1)
    assert captured_energy(basis[:, :0], vectors) == 0
    assert captured_energy(basis, np.zeros((4, 6))) == 0


def test_a_paired_difference_has_students_interval():
    """Mean 2, deviation 1, three pairs: 4.3027 of Student's table, two degrees of freedom, two-sided 5 %, over the root of 3."""
    found = paired_difference([1.0, 2.0, 3.0])
    assert (found.mean, found.pairs) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([], "no pair"),
        ([0.3], "one pair"),
        ([1.0, 2.0, 3.0], "no difference seen"),  # down to 2 - 2.48
        ([2.0, 2.1, 2.2], "more"),
        ([-2.0, -2.1, -2.2], "less"),
        ([0.0, 0.0], "no difference seen"),
    ],
)
def test_a_verdict_says_more_or_less_only_where_zero_is_left_out(differences, verdict):
    assert paired_difference(differences).verdict == verdict


def test_fewer_than_two_pairs_have_no_interval_and_what_is_not_finite_is_refused():
    assert np.isnan([paired_difference([0.3]).low, paired_difference([0.3]).high, paired_difference([]).mean]).all()
    with pytest.raises(ValueError, match=r"differences: expected finite numbers, got \[nan\]"):
        paired_difference([float("nan")])
