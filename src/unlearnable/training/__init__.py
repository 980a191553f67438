"""Training as an iterator of checkpoints; it knows no disk, no tracker and no progress bar."""

from unlearnable.training.checkpoint import Checkpoint
from unlearnable.training.engine import fit, fit_named
from unlearnable.training.recipe import Augmentation, TrainingRecipe, recipe_from

__all__ = ["Augmentation", "Checkpoint", "TrainingRecipe", "fit", "fit_named", "recipe_from"]
