"""Training as an iterator of checkpoints; it knows no disk, no tracker and no progress bar."""

from unlearnable.seeds import Draws
from unlearnable.training.checkpoint import Checkpoint, goes_on, spelled
from unlearnable.training.engine import (
    Report,
    first_network,
    fit,
    fit_named,
    no_report,
    normalisation_of,
    require_batch,
    require_deviations,
    whiten,
)
from unlearnable.training.network import Network, Normalisation
from unlearnable.training.recipe import Augmentation, SimCLR, TrainingRecipe, recipe_from
from unlearnable.training.trainer import PLAIN, Loss, Method, Progress, Trainer, ignore, mixed_loss, pasted_loss, plain_loss

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
    "SimCLR",
    "Trainer",
    "TrainingRecipe",
    "first_network",
    "fit",
    "fit_named",
    "goes_on",
    "ignore",
    "mixed_loss",
    "no_report",
    "normalisation_of",
    "pasted_loss",
    "plain_loss",
    "recipe_from",
    "require_batch",
    "require_deviations",
    "spelled",
    "whiten",
]
