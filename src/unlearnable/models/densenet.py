"""DenseNet-121 of torchvision. Small images get a stem of one 3x3 convolution with stride 1, without BatchNorm and pooling.

Huang et al., "Densely Connected Convolutional Networks" (2017), Table 1; the stem is that of the published CIFAR variants.
"""

from torch import nn

from unlearnable.models.base import MODELS, SMALL_STEM, Shape, is_small, taking


@MODELS.add("densenet121")
def densenet121(shape: Shape) -> nn.Module:
    """Return DenseNet-121 without its head, and its 1,024 features."""
    from torchvision.models import densenet  # here, since it takes a second that other networks need not wait

    network = densenet.densenet121(weights=None)
    layers = network.features
    layers.conv0 = taking(shape[0], layers.conv0, **(SMALL_STEM if is_small(shape) else {}))
    if is_small(shape):
        layers.norm0 = layers.relu0 = layers.pool0 = nn.Identity()
    network.classifier = nn.Identity()
    extractor: nn.Module = network
    return extractor
