"""A small convolutional network for quick and for CPU studies, after the blocks of airbench (github.com/KellerJordan)."""

from torch import nn

from unlearnable.models.base import MODELS, Shape

WIDTHS = (32, 64, 128)


def _normalised_conv(channels: int, width: int, *, pool: bool) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(conv, nn.MaxPool2d(2) if pool else nn.Identity(), nn.BatchNorm2d(width), nn.ReLU())


@MODELS.add("small_cnn")
def small_cnn(shape: Shape) -> nn.Module:
    """Return three blocks of two 3x3 convolutions, the second of each block pooled by two, and their 512 features.

    The last pooling keeps 2x2 places: pooled over the whole image, a network cannot see where a patch lies.
    """
    channels = shape[0]
    layers: list[nn.Module] = []
    for width in WIDTHS:
        layers += [_normalised_conv(channels, width, pool=False), _normalised_conv(width, width, pool=True)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten())
