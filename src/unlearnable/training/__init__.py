"""Training as an iterator of checkpoints; it knows no disk, no tracker and no progress bar."""

from unlearnable.training.checkpoint import Checkpoint
from unlearnable.training.engine import (
    PLAIN,
    Draws,
    Loss,
    Method,
    Progress,
    Report,
    Trainer,
    fit,
    fit_named,
    ignore,
    mixed_loss,
    normalisation_of,
    plain_loss,
    require_batch,
    require_deviations,
    untold,
)
from unlearnable.training.network import Network, Normalisation
from unlearnable.training.recipe import Augmentation, TrainingRecipe, recipe_from

__all__ = [
    "PLAIN",
    "Augmentation",
    "Checkpoint",
    "Draws",
    "Loss",
    "Method",
    "Network",
    "Normalisation",
    "Progress",
    "Report",
    "Trainer",
    "TrainingRecipe",
    "fit",
    "fit_named",
    "ignore",
    "mixed_loss",
    "normalisation_of",
    "plain_loss",
    "recipe_from",
    "require_batch",
    "require_deviations",
    "untold",
]
