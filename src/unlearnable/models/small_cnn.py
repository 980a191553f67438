"""Small convolutional networks for CPUs, after the blocks of airbench (github.com/KellerJordan)."""

from torch import nn

from unlearnable.models.base import MODELS, Shape

WIDTHS = (32, 64, 128)
TINY = ((24, 2, False), (48, 1, True), (96, 1, True), (96, 1, False))  # of each convolution: width, stride, whether it is pooled


def _normalised_conv(channels: int, width: int, *, pool: bool, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
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


@MODELS.add("tiny_cnn")
def tiny_cnn(shape: Shape) -> nn.Module:
    """Return four 3x3 convolutions, the first of stride two, and their 384 features: a sixth of the arithmetic of ``small_cnn``."""
    channels = shape[0]
    layers: list[nn.Module] = []
    for width, stride, pool in TINY:
        layers.append(_normalised_conv(channels, width, stride=stride, pool=pool))
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten())
