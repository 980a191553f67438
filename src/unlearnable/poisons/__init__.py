"""Poisons by name: functions from clean images to a perturbation, and the one place that applies it."""

from unlearnable.poisons.base import POISONS, Crafting, Perturbation, apply, craft, require
from unlearnable.register import import_modules

__all__ = ["POISONS", "Crafting", "Perturbation", "apply", "craft", "require"]

import_modules(__name__, __path__)
