"""Networks by name. Every model answers ``features(x)`` and owns a linear ``head`` on them."""

from unlearnable.models.base import MODELS, ImageClassifier, build
from unlearnable.models.resnet import resnet18
from unlearnable.models.small_cnn import small_cnn

__all__ = ["MODELS", "ImageClassifier", "build", "resnet18", "small_cnn"]
