"""Pure numbers: fractions in [0, 1] and means."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unlearnable.images import LabelledImages


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows of ``logits`` (N, K) whose largest entry stands at the label (N,)."""
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
    """Return the fraction of the squared norm of ``vectors`` (N, D) that lies in the span of orthonormal columns (D, K)."""
    whole = float(np.square(vectors).sum())
    return float(np.square(vectors @ basis).sum()) / whole if whole else 0.0
