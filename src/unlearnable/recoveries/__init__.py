"""Recoveries by name: how somebody learns from a poisoned set all the same."""

from unlearnable.recoveries import adversarial_training, augmentations, control, orthogonal_projection, pixels
from unlearnable.recoveries.base import RECOVERIES, LinearWeights, Needs, Recovery, recover, recovery_named

__all__ = [
    "RECOVERIES",
    "LinearWeights",
    "Needs",
    "Recovery",
    "adversarial_training",
    "augmentations",
    "control",
    "orthogonal_projection",
    "pixels",
    "recover",
    "recovery_named",
]
