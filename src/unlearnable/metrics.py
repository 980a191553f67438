"""Pure numbers: fractions in [0, 1], means, and how sure a difference is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unlearnable.images import LabelledImages


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows of ``logits`` (N, K) whose largest entry is at the label (N,)."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def mean_perturbations(clean: LabelledImages, poisoned: LabelledImages) -> npt.NDArray[np.float64]:
    """Return the mean difference (K, C, H, W) between poisoned and clean images of each class, in units of [0, 1].

    A class without images has zeros. The poisoned set may hold a part of the clean one.
    """
    clean = clean.matching(poisoned)
    means = np.zeros((clean.num_classes, *clean.shape))
    for label in np.unique(clean.labels):
        members = clean.labels == label
        means[label] = (poisoned.images[members].mean(0) - clean.images[members].mean(0)) / 255
    return means


def captured_energy(basis: npt.NDArray[np.float32], vectors: npt.NDArray[np.float64]) -> float:
    """Return the fraction of the squared norm of ``vectors`` (N, D) in the span of orthonormal columns (D, K)."""
    whole = float(np.square(vectors).sum())
    return float(np.square(vectors @ basis).sum()) / whole if whole else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The mean of paired differences, and the interval that covers the true one with 95 % probability where they are normally distributed.

    Args:
        mean: of the pairs; NaN where there are none.
        low, high: ends of the interval; NaN where there are fewer than two pairs.
        pairs: how many.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def verdict(self) -> str:
        """Return ``more`` or ``less`` where the interval leaves out zero, ``no difference seen`` where it does not, or how few pairs."""
        if self.pairs < 2:
            return ("no pair", "one pair")[self.pairs]
        return "more" if self.low > 0 else "less" if self.high < 0 else "no difference seen"


def paired_difference(differences: Sequence[float]) -> Difference:
    """Return mean and 95 % interval (Student's t) of finite differences between pairs that share all but one thing, such as their seed."""
    from scipy.stats import t

    values = np.asarray(differences, dtype=float)
    count = len(values)
    if not np.isfinite(values).all():
        raise ValueError(f"differences: expected finite numbers, got {values.tolist()}")
    mean = float(values.mean()) if count else math.nan
    half = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return Difference(mean=mean, low=mean - half, high=mean + half, pairs=count)
