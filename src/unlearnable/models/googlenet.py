"""GoogLeNet of torchvision, without its auxiliary heads and its dropout (which would draw from torch's global generator).

Szegedy et al., "Going Deeper with Convolutions" (2015), Table 1. Small images get the stem of the published CIFAR variants: one 3x3
convolution of 192 channels. torchvision's blocks have a 3x3 convolution where the paper has a 5x5.
"""

from torch import nn

from unlearnable.models.base import MODELS, Shape, is_small, taking


@MODELS.add("googlenet")
def googlenet(shape: Shape) -> nn.Module:
    """Return GoogLeNet without its head, and its 1,024 features."""
    # Here, since it takes a second that other networks need not wait.
    from torchvision.models.googlenet import BasicConv2d, GoogLeNet

    network = GoogLeNet(num_classes=1, aux_logits=False, init_weights=True, dropout=0.0)
    if is_small(shape):
        network.conv1 = BasicConv2d(shape[0], 192, kernel_size=3, padding=1)
        network.maxpool1 = network.conv2 = network.conv3 = network.maxpool2 = nn.Identity()
    else:
        network.conv1.conv = taking(shape[0], network.conv1.conv)
    network.fc = nn.Identity()
    extractor: nn.Module = network
    return extractor
