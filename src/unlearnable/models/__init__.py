"""Networks by name. Every model answers ``features(x)`` and owns a linear ``head`` on them."""

from unlearnable.models import densenet, fast_cnn, googlenet, mobilenet, resnet, small_cnn, vgg, vit
from unlearnable.models.base import MODELS, ImageClassifier, Shape, build, require_model, require_takes

__all__ = [
    "MODELS",
    "ImageClassifier",
    "Shape",
    "build",
    "densenet",
    "fast_cnn",
    "googlenet",
    "mobilenet",
    "require_model",
    "require_takes",
    "resnet",
    "small_cnn",
    "vgg",
    "vit",
]
