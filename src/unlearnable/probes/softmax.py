"""Softmax regression, and small tanh networks, by L-BFGS over the whole set.

scikit-learn needs the set as one array of floats (614 MB for 50,000 CIFAR images) and fits no network by L-BFGS with a curve;
here the values stay bytes and become floats chunk by chunk, in one buffer. The solver is SciPy's, as it is scikit-learn's.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from threadpoolctl import ThreadpoolController
from torch import Tensor

from unlearnable.seeds import torch_generator
from unlearnable.training import Progress, ignore

ROWS_AT_ONCE = 512  # turned into floats at once: few enough that the cache still has them for the second product
GPU_NUMBERS = 2**28  # as many at once there, a GiB: 50,000 images of CIFAR-10 are half of it
SEPARATED, CONVERGED, STEP_LIMIT = "reached 100 %", "converged", "step limit"
WHITENING_ROWS = 10_000
MOST_WHITENED = 6_144  # columns: their covariance is a square of these
RIDGE = 1e-4  # of the mean variance, added to each

Layers = list[tuple[Tensor, Tensor]]  # weights (out, in) and biases (out,), float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """Rows of numbers with labels, and the affine map that they are seen through.

    Args:
        rows: (N, D) of any number type, on the device that computes.
        labels: int64 (N,), on the same device.
        num_classes: the number of classes.
        shift: subtracted from each number.
        scale: multiplied with each number afterwards.
    """

    rows: Tensor
    labels: Tensor
    num_classes: int
    shift: float = 0.0
    scale: float = 1.0

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows as float32, neither shifted nor scaled, in a buffer that the next ones overwrite, and their labels."""
        columns, device = self.rows.shape[1], self.rows.device
        size = ROWS_AT_ONCE if device.type == "cpu" else max(1, GPU_NUMBERS // columns)
        buffer = torch.empty(min(size, len(self.rows)), columns, device=device)
        for rows, labels in zip(self.rows.split(size), self.labels.split(size), strict=True):
            yield buffer[: len(rows)].copy_(rows), labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A fitted network.

    Args:
        layers: weights and biases of each layer, for values as they are before shift and scale.
        losses: the mean loss after each iteration.
        accuracies: the training accuracy after each iteration, fractions.
        ended: SEPARATED where every row is right, CONVERGED where no gradient is above the tolerance or no step lowers the
            loss, STEP_LIMIT otherwise. Only CONVERGED shows that no better fit exists, and only for a convex loss.
    """

    layers: Layers
    losses: list[float]
    accuracies: list[float]
    ended: str

    def accuracy(self, values: Values) -> float:
        """Return the fraction of ``values`` that are classified right."""
        return float((self.predicted(values) == values.labels).double().mean())

    def predicted(self, values: Values) -> Tensor:
        """Return the class (N,) that each of ``values`` is taken for."""
        return torch.cat([_logits(self.layers, rows).argmax(1) for rows, _ in values.chunks()])


def fit_softmax(
    values: Values,
    *,
    hidden: Sequence[int] = (),
    iterations: int,
    tolerance: float = 1e-4,
    l2: float = 0.0,
    whitened: bool = False,
    until_separated: bool = True,
    seed: int = 0,
    progress: Progress = ignore,
) -> Fit:
    """Return the network that minimises the mean cross-entropy of ``values`` plus ``l2 / 2`` times its squared weights.

    Args:
        values: what is fitted.
        hidden: widths of tanh layers; none is softmax regression, which starts from zeros.
        iterations: of L-BFGS at most.
        tolerance: the largest gradient at which it has converged.
        l2: biases are not counted.
        whitened: solve for the first layer in coordinates in which the values have unit covariance. That is the same problem
            with the same solutions, solved in tens of iterations instead of thousands where neighbouring pixels are alike.
        until_separated: end as soon as every row is classified right; without ``l2`` a separable set has no minimum.
        seed: of the first weights of networks with hidden layers.
        progress: called with iterations done and in all.
    """
    from scipy.optimize import minimize  # here, since it takes half a second that runs without a probe need not wait

    problem = _Problem(values, hidden, l2, _whitening(values) if whitened else None)
    losses: list[float] = []
    accuracies: list[float] = []

    def note(_: npt.NDArray[np.float64]) -> None:
        losses.append(problem.loss)
        accuracies.append(problem.accuracy)
        progress(len(losses), iterations)
        if until_separated and problem.accuracy == 1.0:
            raise StopIteration

    options = {"maxiter": iterations, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
    with _scipy_on_one_thread():
        found = minimize(problem, problem.start(seed), method="L-BFGS-B", jac=True, callback=note, options=options)
    progress(iterations, iterations)
    separated = until_separated and accuracies[-1:] == [1.0]
    ended = SEPARATED if separated else STEP_LIMIT if found.nit >= iterations else CONVERGED
    return Fit(layers=problem.layers(found.x), losses=losses, accuracies=accuracies, ended=ended)


def _scipy_on_one_thread() -> AbstractContextManager[object]:
    """Keep OpenBLAS, which SciPy brings along, to one thread: its vectors here are short, and its threads spin while they wait.

    torch has another library, and computes the loss with all of its threads.
    """
    limited: AbstractContextManager[object] = ThreadpoolController().select(internal_api="openblas").limit(limits=1)
    return limited


class _Problem:
    """The loss and its gradient, as SciPy asks for them; it notes the accuracy of the last point that it was asked about."""

    def __init__(self, values: Values, hidden: Sequence[int], l2: float, whitening: Tensor | None) -> None:
        self.values, self.l2, self.whitening = values, l2, whitening
        widths = [values.rows.shape[1], *hidden, values.num_classes]
        self.shapes: list[tuple[int, ...]] = [shape for before, after in pairwise(widths) for shape in ((after, before), (after,))]
        self.loss, self.accuracy = math.nan, math.nan

    def start(self, seed: int) -> npt.NDArray[np.float64]:
        """Return first weights: zeros for softmax regression, else uniform as torch.nn.Linear draws them."""
        if len(self.shapes) == 2:
            return np.zeros(sum(math.prod(shape) for shape in self.shapes))
        generator = torch_generator(seed, "probe/softmax")
        bounds = [self.shapes[place // 2 * 2][1] ** -0.5 for place in range(len(self.shapes))]
        drawn = [torch.rand(shape, generator=generator) * 2 - 1 for shape in self.shapes]
        return np.concatenate([(part * bound).double().ravel().numpy() for part, bound in zip(drawn, bounds, strict=True)])

    def layers(self, flat: npt.NDArray[np.float64]) -> Layers:
        """Return the layers that ``flat`` holds, for values before shift, scale and whitening."""
        parts = self._parts(torch.from_numpy(flat).to(self.values.rows.device, torch.float32))
        return list(zip([self._first(parts[0]), *parts[2::2]], self._biases(parts), strict=True))

    def __call__(self, flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Return the loss and its gradient at ``flat``."""
        point = torch.from_numpy(flat).to(self.values.rows.device, torch.float32).requires_grad_()
        parts = self._parts(point)
        first = self._first(parts[0].detach())
        gradient = torch.zeros_like(first)
        bias_gradient = torch.zeros(len(first), device=first.device)
        loss, right = torch.zeros((), dtype=torch.float64, device=first.device), torch.zeros((), dtype=torch.int64, device=first.device)
        shifted = self._shifted(first)
        for rows, labels in self.values.chunks():
            inner = F.linear(rows, first).sub_(shifted).requires_grad_()
            logits = _outer(inner + parts[1], parts[2:])
            chunk_loss = F.cross_entropy(logits, labels, reduction="sum")
            chunk_loss.backward()
            own: Any = inner.grad
            gradient.addmm_(own.T.contiguous(), rows)  # by hand: autograd multiplies them the slow way round
            bias_gradient += own.sum(0)
            loss += chunk_loss.detach()
            right += (logits.argmax(1) == labels).sum()
        rest: Any = point.grad
        self._parts(rest)[0].copy_(self._back(gradient.sub_(bias_gradient[:, None] * self.values.shift)))
        return self._mean(float(loss), int(right), rest, parts)

    def _mean(self, loss: float, right: int, gradient: Tensor, parts: list[Tensor]) -> tuple[float, npt.NDArray[np.float64]]:
        count = len(self.values.rows)
        gradient /= count
        for own, weights in zip(self._parts(gradient)[::2], parts[::2], strict=True):
            own.add_(weights.detach(), alpha=self.l2)
        squares = sum(float(weights.detach().square().sum(dtype=torch.float64)) for weights in parts[::2])
        self.loss, self.accuracy = loss / count + self.l2 / 2 * squares, right / count
        return self.loss, gradient.double().cpu().numpy()

    def _parts(self, flat: Tensor) -> list[Tensor]:
        sizes = [math.prod(shape) for shape in self.shapes]
        return [part.view(shape) for part, shape in zip(flat.split(sizes), self.shapes, strict=True)]

    def _first(self, weights: Tensor) -> Tensor:
        """Return the first layer's weights for values before scale and whitening."""
        if self.whitening is not None:
            weights = torch.linalg.solve_triangular(self.whitening, weights, upper=False, left=False)
        return (weights * self.values.scale).contiguous()  # the solver's are column by column, which a product takes ten times as long for

    def _back(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the first layer's weights from that of what ``_first`` makes of them."""
        gradient = gradient * self.values.scale
        if self.whitening is None:
            return gradient
        solved: Tensor = torch.linalg.solve_triangular(self.whitening.T, gradient, upper=True, left=False)
        return solved

    def _shifted(self, first: Tensor) -> Tensor:
        return first.sum(1) * self.values.shift

    def _biases(self, parts: list[Tensor]) -> list[Tensor]:
        return [parts[1] - self._shifted(self._first(parts[0])), *parts[3::2]]


def _outer(inner: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Return logits (n, K) of what the first layer gives (n, width)."""
    for weights, bias in zip(parts[::2], parts[1::2], strict=True):
        inner = F.linear(inner.tanh(), weights, bias)
    return inner


def _logits(layers: Layers, rows: Tensor) -> Tensor:
    """Return logits (n, K) of values (n, D) before shift and scale."""
    (weights, bias), *others = layers
    return _outer(F.linear(rows, weights, bias), [part for layer in others for part in layer])


def _whitening(values: Values) -> Tensor | None:
    """Return the Cholesky factor (D, D) of the covariance of some values; None where there are too many columns for it."""
    count, columns = values.rows.shape
    if columns > MOST_WHITENED:
        return None
    some = values.rows if count <= WHITENING_ROWS else values.rows[:: math.ceil(count / WHITENING_ROWS)]
    covariance = torch.zeros(columns, columns, device=some.device)
    total = torch.zeros(columns, device=some.device)
    part = Values(rows=some, labels=values.labels[: len(some)], num_classes=values.num_classes)
    for rows, _ in part.chunks():
        rows.sub_(values.shift).mul_(values.scale)
        covariance.addmm_(rows.T, rows)
        total += rows.sum(0)
    mean = total / len(some)
    covariance.div_(len(some)).sub_(torch.outer(mean, mean))
    return _factor(covariance.double(), RIDGE * float(covariance.diagonal().mean()) or 1.0)


def _factor(covariance: Tensor, ridge: float) -> Tensor:
    """Return the Cholesky factor of ``covariance`` with a ridge that is large enough: values of a few patterns span little of the space."""
    covariance.diagonal().add_(ridge)
    factor, wrong = torch.linalg.cholesky_ex(covariance)
    return factor.float() if not wrong else _factor(covariance, 10 * ridge)
