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
from unlearnable.recoveries.base import RECOVERIES, Needs, Recovery, recover, recovery_named
from unlearnable.recoveries.orthogonal_projection import LinearWeights, OrthogonalProjection

__all__ = [
    "RECOVERIES",
    "LinearWeights",
    "Needs",
    "OrthogonalProjection",
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
