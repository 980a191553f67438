"""What every network has, and how it is made."""

import torch
from torch import Tensor, nn

from unlearnable.errors import InputError
from unlearnable.models.any_timm import PREFIX, require_timm, timm_network
from unlearnable.models.networks import MODELS, Shape
from unlearnable.register import unknown
from unlearnable.seeds import borrowed_global_torch

OWN = "own"


class ImageClassifier(nn.Module):
    """A feature extractor and the linear head on it.

    Args:
        extractor: images (N, C, H, W) -> features (N, width).
        width: the number of features.
        num_classes: the number of classes.
    """

    def __init__(self, extractor: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = nn.Linear(width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, width) of normalised images (N, C, H, W)."""
        features: Tensor = self.extractor(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) of normalised images (N, C, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build(name: str, *, shape: Shape, num_classes: int, seed: int, initialisation: str = OWN) -> ImageClassifier:
    """Return the model of that name; its first weights depend on ``seed`` alone.

    Args:
        name: one of MODELS, or ``timm:NAME``.
        shape: channels, height and width of the images.
        num_classes: the number of classes.
        seed: of the first weights.
        initialisation: of convolutions: the network's ``own``, or ``torch`` for the default of torch.

    Raises:
        InputError: the name is unknown, or the network cannot take images of that shape.
    """
    require_model("model", name)
    with borrowed_global_torch(seed, f"model/{name}"):
        extractor = _extractor(name, shape)
        for part in extractor.modules() if initialisation != OWN else ():
            if isinstance(part, nn.Conv2d):
                part.reset_parameters()
        return ImageClassifier(extractor, _width(name, extractor, shape), num_classes)


def require_takes(name: str, shape: Shape) -> None:
    """Raise InputError if the model of that name cannot take images of that shape; nothing is computed."""
    with torch.device("meta"):
        _width(name, _extractor(name, shape), shape)


def _extractor(name: str, shape: Shape) -> nn.Module:
    return timm_network(name, shape) if name.startswith(PREFIX) else MODELS[name](shape)


def _width(name: str, extractor: nn.Module, shape: Shape) -> int:
    """Return the number of features of an image; raise InputError if the network cannot take one of that shape."""
    try:
        with torch.inference_mode():
            features = extractor.eval()(torch.zeros(1, *shape))
    except (AssertionError, RuntimeError) as error:  # torch's and timm's, each in its own words
        reason = " ".join(str(error).split())
        raise InputError(f"model '{name}': expected images that it can take, got {shape[0]}x{shape[1]}x{shape[2]} ({reason})") from error
    extractor.train()
    return int(features.shape[1])


def require_model(parameter: str, name: str) -> None:
    """Raise InputError if ``parameter`` names neither a model nor, as ``timm:NAME``, one of timm."""
    if name.startswith(PREFIX):
        require_timm(parameter, name)
    elif name not in MODELS:
        raise unknown(parameter, name, [*MODELS, f"{PREFIX}NAME"], MODELS.broken)
