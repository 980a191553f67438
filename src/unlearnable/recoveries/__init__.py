"""Recoveries by name: how somebody learns from a poisoned set all the same."""

from unlearnable.recoveries import (
    adversarial_training,
    augmentations,
    clean_data,
    control,
    orthogonal_projection,
    pixels,
    projections,
    randaugment,
    ueraser,
)
from unlearnable.recoveries.base import RECOVERIES, LinearWeights, Needs, Recovery, recover, recovery_named

__all__ = [
    "RECOVERIES",
    "LinearWeights",
    "Needs",
    "Recovery",
    "adversarial_training",
    "augmentations",
    "clean_data",
    "control",
    "orthogonal_projection",
    "pixels",
    "projections",
    "randaugment",
    "recover",
    "recovery_named",
    "ueraser",
]
