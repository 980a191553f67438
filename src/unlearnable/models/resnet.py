"""Residual networks of torchvision with the stem for small images: 3x3, stride 1, no pooling.

The stem is that of the published CIFAR variants: He et al., "Deep Residual Learning for Image Recognition" (2016),
Section 4.2, with the widths of the ImageNet networks.
"""

from torch import nn

from unlearnable.models.base import MODELS


@MODELS.add("resnet18")
def resnet18(channels: int) -> tuple[nn.Module, int]:
    """Return ResNet-18 for 32-pixel images, without its head, and its 512 features."""
    from torchvision.models import resnet  # here, since it takes a second that other networks need not wait

    network = resnet.resnet18(weights=None)
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    network.fc = nn.Identity()
    return network, 512
