"""Unlearnable: craft poisons that protect images from training, and measure whether the protection holds.

``unlearnable.api`` has what is imported from here: ``craft``, ``recover``, ``train``, ``probe``, ``learnability``, ``separability`` and
``labelled``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unlearnable.waiting import politely

if TYPE_CHECKING:
    from unlearnable.api import InputError, LabelledImages, Training, craft, labelled, learnability, probe, recover, separability, train

__version__ = "0.1.0"

__all__ = ["InputError", "LabelledImages", "Training", "craft", "labelled", "learnability", "probe", "recover", "separability", "train"]

politely()


def __getattr__(name: str) -> Any:
    """Return what ``unlearnable.api`` has of that name: it imports torch, which takes seconds, so only when first used."""
    if name not in __all__:
        raise AttributeError(f"module 'unlearnable' has no attribute '{name}'")
    return getattr(import_module("unlearnable.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
