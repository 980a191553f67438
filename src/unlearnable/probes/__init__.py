"""Questions put to checkpoints (deep feature reweighting) and to perturbations (separability)."""

from unlearnable.probes.reweighting import ESTIMATORS, ReweightingRecipe, reweight
from unlearnable.probes.separability import SeparabilityRecipe, perturbations, separability

__all__ = ["ESTIMATORS", "ReweightingRecipe", "SeparabilityRecipe", "perturbations", "reweight", "separability"]
