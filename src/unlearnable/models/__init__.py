"""Networks by name. Every model answers ``features(x)`` and owns a linear ``head`` on them."""

from unlearnable.models.any_timm import timm_file
from unlearnable.models.base import ALL_BUT_HEAD, ImageClassifier, build, require_model, require_takes
from unlearnable.models.networks import MODELS, Shape
from unlearnable.plugins import load

__all__ = ["ALL_BUT_HEAD", "MODELS", "ImageClassifier", "Shape", "build", "require_model", "require_takes", "timm_file"]

load(MODELS, "models")
