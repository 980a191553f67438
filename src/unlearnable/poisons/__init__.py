"""Poisons by name: functions from clean images to a perturbation, and the one place that applies it."""

from unlearnable.poisons import (
    adversarial_noise,
    autoregressive,
    control,
    cuda,
    error_minimising,
    lsp,
    ntga,
    ops,
    pil,
    robust_error_minimising,
    synthetic,
)
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, apply, craft, require

__all__ = [
    "POISONS",
    "Crafting",
    "Perturbation",
    "adversarial_noise",
    "apply",
    "autoregressive",
    "control",
    "craft",
    "cuda",
    "error_minimising",
    "lsp",
    "ntga",
    "ops",
    "pil",
    "require",
    "robust_error_minimising",
    "synthetic",
]
