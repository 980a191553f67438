"""What every network has, and how it is made."""

from collections.abc import Callable

from torch import Tensor, nn

from unlearnable.register import Register
from unlearnable.seeds import borrowed_global_torch

Extractor = Callable[[int], tuple[nn.Module, int]]
MODELS: Register[Extractor] = Register("model")


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


def build(name: str, *, channels: int, num_classes: int, seed: int) -> ImageClassifier:
    """Return the model of that name; its first weights depend on ``seed`` alone.

    Raises:
        InputError: where the name is unknown.
    """
    make = MODELS[name]
    with borrowed_global_torch(seed, f"model/{name}"):
        extractor, width = make(channels)
        return ImageClassifier(extractor, width, num_classes)
