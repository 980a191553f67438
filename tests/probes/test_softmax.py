"""Softmax regression and tanh networks against scikit-learn, and against what mathematics says of them."""

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from unlearnable.probes.softmax import CONVERGED, ROWS_AT_ONCE, SEPARATED, STEP_LIMIT, Values, _Problem, _whitening, fit_softmax


def mixture(count=1500, columns=20, classes=4, *, distance=0.5, seed=0) -> Values:
    """Overlapping Gaussian clouds whose columns are alike, as neighbouring pixels are; more rows than a chunk."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    centres = distance * rng.normal(size=(classes, columns))
    rows = (rng.normal(size=(count, columns)) + centres[labels]) @ (np.eye(columns) + 0.5)
    return Values(rows=torch.from_numpy(rows).float(), labels=torch.from_numpy(labels), num_classes=classes)


def sklearns(values: Values, **settings) -> LogisticRegression:
    model = LogisticRegression(**{"C": np.inf, "tol": 1e-6, "max_iter": 10_000} | settings)
    return model.fit(values.rows.numpy(), values.labels.numpy())


def loss(model: LogisticRegression, values: Values) -> float:
    return float(-np.log(model.predict_proba(values.rows.numpy())[np.arange(len(values.rows)), values.labels.numpy()]).mean())


@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_with_l2_it_is_scikit_learns(l2):
    values = mixture()
    assert len(values.rows) > 2 * ROWS_AT_ONCE
    ours = fit_softmax(values, iterations=1000, tolerance=1e-6, l2=l2, until_separated=False)
    theirs = sklearns(values, C=1 / (l2 * len(values.rows)))
    assert ours.ended == CONVERGED
    [(weights, bias)] = ours.layers
    assert np.allclose(weights.numpy(), theirs.coef_, atol=2e-3)
    assert np.allclose(bias.numpy() - bias.numpy().mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=5e-3)
    assert ours.accuracy(values) == ours.accuracies[-1]
    assert ours.accuracies[-1] == pytest.approx(theirs.score(values.rows.numpy(), values.labels.numpy()), abs=0.002)


@pytest.mark.parametrize("whitened", [False, True])
def test_without_it_is_too(whitened):
    values = mixture()
    ours = fit_softmax(values, iterations=1000, tolerance=1e-5, whitened=whitened)
    theirs = sklearns(values)
    assert ours.ended == CONVERGED
    assert ours.losses[-1] == pytest.approx(loss(theirs, values), abs=1e-4)
    assert ours.accuracies[-1] == pytest.approx(theirs.score(values.rows.numpy(), values.labels.numpy()), abs=0.005)


def test_whitening_is_the_same_problem_solved_sooner():
    values = mixture()
    plain, whitened = (fit_softmax(values, iterations=1000, tolerance=1e-5, whitened=choice) for choice in (False, True))
    assert len(whitened.losses) < len(plain.losses) / 2
    assert whitened.losses[-1] == pytest.approx(plain.losses[-1], abs=1e-4)


def test_what_ended_it():
    apart = mixture(distance=3.0)
    assert fit_softmax(apart, iterations=200).ended == SEPARATED
    assert fit_softmax(apart, iterations=200).accuracies[-1] == 1.0
    assert fit_softmax(mixture(), iterations=1000).ended == CONVERGED
    short = fit_softmax(mixture(), iterations=3)
    assert (short.ended, len(short.losses)) == (STEP_LIMIT, 3)


def test_bytes_seen_through_a_map_are_the_floats_that_it_gives():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(3, size=700))
    levels = torch.from_numpy(rng.integers(-40, 40, size=(700, 12))).add(labels[:, None] * 9).to(torch.int8)
    seen = Values(rows=levels, labels=labels, num_classes=3, shift=-40.0, scale=1 / 100)
    floats = Values(rows=(levels.float() + 40) / 100, labels=labels, num_classes=3)
    for hidden in ((), (5,)):
        one, other = (fit_softmax(values, hidden=hidden, iterations=30, l2=0.01, until_separated=False) for values in (seen, floats))
        assert one.losses == pytest.approx(other.losses, rel=1e-3)
        assert one.accuracy(seen) == pytest.approx(other.accuracy(floats), abs=0.005)


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
def test_its_gradient_is_that_of_its_loss(hidden, whitened):
    values = mixture(200, columns=6, classes=3)
    values = Values(rows=values.rows, labels=values.labels, num_classes=3, shift=0.3, scale=0.5)
    problem = _Problem(values, hidden, 0.1, _whitening(values) if whitened else None)
    point = np.random.default_rng(1).normal(size=len(problem.start(0)))
    _, gradient = problem(point)
    assert np.allclose(gradient, approx_fprime(point, lambda at: problem(at)[0], 1e-3), atol=3e-3)


def test_a_tanh_network_learns_what_no_linear_model_can():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 2))
    ring = Values(rows=torch.from_numpy(rows).float(), labels=torch.from_numpy((np.hypot(*rows.T) > 1).astype(np.int64)), num_classes=2)
    assert fit_softmax(ring, iterations=200).accuracies[-1] < 0.75
    assert fit_softmax(ring, hidden=(30,), iterations=200).accuracies[-1] > 0.98


def test_it_is_reproducible_and_another_seed_is_another_network(global_generators_untouched):
    values = mixture(300)
    one, again, other = (fit_softmax(values, hidden=(5,), iterations=5, seed=seed).losses for seed in (0, 0, 1))
    assert one == again != other


def test_scipy_has_one_thread_while_it_fits():
    """Its vectors are short, and its threads spin while they wait: 17 times the CPU seconds with two threads."""
    seen = []

    def note(done: int, total: int) -> None:
        seen.append({library["num_threads"] for library in threadpool_info() if library["internal_api"] == "openblas"})

    with threadpool_limits(2, user_api="blas"):
        fit_softmax(mixture(), iterations=2, progress=note)
    assert seen[0] == {1}
