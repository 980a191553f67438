"""Recoveries by name: ways to learn from a poisoned set in spite of its perturbation."""

from unlearnable.plugins import load
from unlearnable.recoveries.base import RECOVERIES, Needs, Recovery, recover, recovery_named
from unlearnable.recoveries.orthogonal_projection import LinearWeights, OrthogonalProjection
from unlearnable.register import import_modules

__all__ = ["RECOVERIES", "LinearWeights", "Needs", "OrthogonalProjection", "Recovery", "recover", "recovery_named"]

import_modules(__name__, __path__)
load(RECOVERIES, "recoveries")
