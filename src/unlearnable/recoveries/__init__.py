"""Recoveries by name: from a poisoned set to one that can be learned from."""

from unlearnable.recoveries import control, orthogonal_projection
from unlearnable.recoveries.base import RECOVERIES, LinearWeights, recover

__all__ = ["RECOVERIES", "LinearWeights", "control", "orthogonal_projection", "recover"]
