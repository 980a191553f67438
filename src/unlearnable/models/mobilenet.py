"""MobileNetV2 of torchvision. For small images two of its five halvings are left out, as in the published CIFAR variants.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), Table 2. Dropout is left out: it would draw from
torch's global generator.
"""

from torch import nn

from unlearnable.models.base import MODELS, Shape, is_small, taking

# Expansion, channels, repetitions and stride of each stage; the published second stage has stride 2.
SMALL_STAGES = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]


@MODELS.add("mobilenetv2")
def mobilenetv2(shape: Shape) -> nn.Module:
    """Return MobileNetV2 without its head, and its 1,280 features."""
    from torchvision.models import mobilenet_v2  # here, since it takes a second that other networks need not wait

    network = mobilenet_v2(weights=None, inverted_residual_setting=SMALL_STAGES if is_small(shape) else None)
    stem = network.features[0]
    stem[0] = taking(shape[0], stem[0], **({"stride": 1} if is_small(shape) else {}))
    network.classifier = nn.Identity()
    extractor: nn.Module = network
    return extractor
