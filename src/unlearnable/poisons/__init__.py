"""Poisons by name: functions from clean images to a perturbation, and the one place that applies it."""

from unlearnable.plugins import load
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, apply, budget_named, craft, is_made_at_any_size, perturb, require
from unlearnable.register import import_modules

__all__ = ["POISONS", "Crafting", "Perturbation", "apply", "budget_named", "craft", "is_made_at_any_size", "perturb", "require"]

import_modules(__name__, __path__)
load(POISONS, "poisons")
