"""Unlearnable: craft poisons that protect images from training, and measure whether the protection holds."""

__version__ = "0.1.0"
