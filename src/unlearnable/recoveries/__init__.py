"""Recoveries by name: how somebody learns from a poisoned set all the same."""

from unlearnable.recoveries import control, orthogonal_projection
from unlearnable.recoveries.base import RECOVERIES, LinearWeights, Needs, Recovery, recover, recovery_named

__all__ = ["RECOVERIES", "LinearWeights", "Needs", "Recovery", "control", "orthogonal_projection", "recover", "recovery_named"]
