"""Poisons by name: functions from clean images to a perturbation, and the one place that applies it."""

from unlearnable.poisons.base import FLAT, POISONS, Crafting, Perturbation, apply, budget_named, craft, perturb, require
from unlearnable.register import import_modules

__all__ = ["FLAT", "POISONS", "Crafting", "Perturbation", "apply", "budget_named", "craft", "perturb", "require"]

import_modules(__name__, __path__)
