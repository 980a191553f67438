"""Poisons by name: functions from clean images to a perturbation, and the one place that applies it."""

from unlearnable.poisons import classwise, control, lsp, ops
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, apply, craft

__all__ = ["POISONS", "Crafting", "Perturbation", "apply", "classwise", "control", "craft", "lsp", "ops"]
