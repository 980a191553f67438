"""Questions put to checkpoints (deep feature reweighting), to perturbations (separability) and to images alone (detection)."""

from unlearnable.probes.reweighting import ESTIMATORS, FittedHead, ReweightingRecipe, fitted_and_held_out, fitted_head, reweight
from unlearnable.probes.separability import SeparabilityRecipe, perturbations, separability

__all__ = [
    "ESTIMATORS",
    "FittedHead",
    "ReweightingRecipe",
    "SeparabilityRecipe",
    "fitted_and_held_out",
    "fitted_head",
    "perturbations",
    "reweight",
    "separability",
]
