"""Residual networks of torchvision; small images get a stem of one 3x3 convolution with stride 1 and no pooling.

That stem is the one of the published CIFAR variants: He et al., "Deep Residual Learning for Image Recognition" (2016),
Section 4.2, with the widths of the ImageNet networks.
"""

from torch import nn

from unlearnable.models.base import MODELS, SMALL_STEM, Shape, is_small, taking


@MODELS.add("resnet18")
def resnet18(shape: Shape) -> nn.Module:
    """Return ResNet-18 without its head, and its 512 features."""
    return _residual("resnet18", shape)


@MODELS.add("resnet34")
def resnet34(shape: Shape) -> nn.Module:
    """Return ResNet-34 without its head, and its 512 features."""
    return _residual("resnet34", shape)


@MODELS.add("resnet50")
def resnet50(shape: Shape) -> nn.Module:
    """Return ResNet-50 without its head, and its 2,048 features."""
    return _residual("resnet50", shape)


def _residual(name: str, shape: Shape) -> nn.Module:
    from torchvision.models import resnet  # here, since it takes a second that other networks need not wait

    network = getattr(resnet, name)(weights=None)
    network.conv1 = taking(shape[0], network.conv1, **(SMALL_STEM if is_small(shape) else {}))
    if is_small(shape):
        network.maxpool = nn.Identity()
    network.fc = nn.Identity()
    extractor: nn.Module = network
    return extractor
