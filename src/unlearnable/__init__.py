"""Unlearnable: craft poisons that protect images from training, and measure whether the protection holds."""

from unlearnable.waiting import politely

__version__ = "0.1.0"

politely()
