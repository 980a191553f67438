"""Questions put to checkpoints (reweighting, learnability), to perturbations (separability) and to images alone (detection)."""

from unlearnable.probes.learnability import LearnabilityRecipe, learnability
from unlearnable.probes.reweighting import ESTIMATORS, FittedHead, ReweightingRecipe, fitted_and_held_out, fitted_head, reweight
from unlearnable.probes.separability import SeparabilityRecipe, perturbations, separability

__all__ = [
    "ESTIMATORS",
    "FittedHead",
    "LearnabilityRecipe",
    "ReweightingRecipe",
    "SeparabilityRecipe",
    "fitted_and_held_out",
    "fitted_head",
    "learnability",
    "perturbations",
    "reweight",
    "separability",
]
