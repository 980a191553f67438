"""VGG with BatchNorm, of torchvision: sixteen and nineteen layers (the paper's reference code builds eleven for ``vgg16``).

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015), Table 1, columns D and E.
Small images end, as in the published CIFAR variants, in one pooling over the whole image and the head, without the two layers
of 4,096 units. Dropout is left out: it would draw from torch's global generator.
"""

from torch import nn

from unlearnable.models.base import MODELS, Shape, is_small, taking

LAYERS = {"vgg16": "D", "vgg19": "E"}


@MODELS.add("vgg16")
def vgg16(shape: Shape) -> nn.Module:
    """Return VGG-16 without its head, and its 512 features (4,096 for images above 64 pixels)."""
    return _vgg("vgg16", shape)


@MODELS.add("vgg19")
def vgg19(shape: Shape) -> nn.Module:
    """Return VGG-19 without its head, and its 512 features (4,096 for images above 64 pixels)."""
    return _vgg("vgg19", shape)


def _vgg(name: str, shape: Shape) -> nn.Module:
    from torchvision.models import vgg  # here, since it takes a second that other networks need not wait

    layers = vgg.make_layers(vgg.cfgs[LAYERS[name]], batch_norm=True)
    layers[0] = taking(shape[0], layers[0])
    if is_small(shape):
        return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = vgg.VGG(layers, dropout=0.0)
    network.classifier[-1] = nn.Identity()
    extractor: nn.Module = network
    return extractor
