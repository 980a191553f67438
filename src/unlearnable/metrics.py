"""Pure numbers: fractions in [0, 1]."""

from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows of ``logits`` (N, K) whose largest entry stands at the label (N,)."""
    return float((logits.argmax(dim=1) == labels).double().mean())
