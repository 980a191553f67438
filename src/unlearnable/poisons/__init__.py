"""Poisons by name: functions from clean images to a perturbation, and the one place that applies it."""

from unlearnable.poisons import autoregressive, control, cuda, lsp, ops, synthetic
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, apply, craft

__all__ = ["POISONS", "Crafting", "Perturbation", "apply", "autoregressive", "control", "craft", "cuda", "lsp", "ops", "synthetic"]
