"""All networks, as one table: a new one is a line of TABLE, and a function unless an existing one builds it.

Each takes the shape of an image and returns a network without its head, images (N, C, H, W) -> features (N, width). The published ones are
torchvision's, for any number of channels. Up to 64 pixels an image is seen at full resolution, by the stem of the published CIFAR variants
(He et al. 2016, Section 4.2): a 3x3 convolution with stride 1, and no pooling after it. There is no dropout, since it would draw from
torch's global generator. ``SOURCES`` says where each network is from.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from unlearnable.errors import InputError
from unlearnable.models.fast_cnn import fast_cnn, fast_cnn_learned
from unlearnable.register import Register

Shape = tuple[int, int, int]  # channels, height and width of an image
Extractor = Callable[[Shape], nn.Module]  # images (N, C, H, W) -> features (N, width)
Layer = tuple[int, int, bool]  # of a small network's convolution: width, stride, whether it is pooled

SMALL = 64  # pixels: images up to this side are seen at full resolution
SMALL_STEM: dict[str, object] = {"kernel_size": 3, "stride": 1, "padding": 1}
SMALL_CNN: tuple[Layer, ...] = ((32, 1, False), (32, 1, True), (64, 1, False), (64, 1, True), (128, 1, False), (128, 1, True))
TINY_CNN: tuple[Layer, ...] = ((24, 2, False), (48, 1, True), (96, 1, True), (96, 1, False))  # a sixth of the arithmetic
# Expansion, channels, repetitions and stride of each stage; the published second stage has stride 2.
MOBILENET_STAGES = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]
WIDTH = 384  # of the vision transformers


def convolutional(layers: Sequence[Layer], shape: Shape) -> nn.Module:
    """Return 3x3 convolutions and four times as many features as the last one is wide.

    The last pooling keeps 2x2 places: pooled over the whole image, a network cannot see where a patch is.
    """
    channels, made = shape[0], []
    for width, stride, is_pooled in layers:
        conv = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        made.append(nn.Sequential(conv, nn.MaxPool2d(2) if is_pooled else nn.Identity(), nn.BatchNorm2d(width), nn.ReLU()))
        channels = width
    return nn.Sequential(*made, nn.AdaptiveMaxPool2d(2), nn.Flatten())


# torchvision is imported where it is used: that takes a second, and the other networks do not need it.


def residual(name: str, shape: Shape) -> nn.Module:
    """Return a residual network, and its 512 features, or 2,048 from 50 layers on."""
    from torchvision.models import resnet

    network = getattr(resnet, name)(weights=None)
    network.conv1 = _stem(network.conv1, shape, **SMALL_STEM)
    return _without(network, "fc", *(("maxpool",) if is_small(shape) else ()))


def vgg(column: str, shape: Shape) -> nn.Module:
    """Return VGG of a column of its Table 1 (the paper's reference code builds eleven layers for ``vgg16``), and its 512 features.

    Images above 64 pixels have 4,096 features, as published; for smaller ones a pooling over the whole image replaces two layers.
    """
    from torchvision.models import vgg as published

    layers = published.make_layers(published.cfgs[column], batch_norm=True)
    layers[0] = _stem(layers[0], shape)
    if is_small(shape):
        return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = published.VGG(layers, dropout=0.0)
    _without(network.classifier, "6")
    return _without(network)


def googlenet(shape: Shape) -> nn.Module:
    """Return GoogLeNet without its auxiliary heads, and its 1,024 features; the stem of small images has 192 channels."""
    from torchvision.models.googlenet import BasicConv2d, GoogLeNet

    network = GoogLeNet(num_classes=1, aux_logits=False, init_weights=True, dropout=0.0)
    if is_small(shape):
        network.conv1 = BasicConv2d(shape[0], 192, kernel_size=3, padding=1)
        return _without(network, "fc", "maxpool1", "conv2", "conv3", "maxpool2")
    network.conv1.conv = _stem(network.conv1.conv, shape)
    return _without(network, "fc")


def densenet121(shape: Shape) -> nn.Module:
    """Return DenseNet-121, and its 1,024 features; the stem of small images has no BatchNorm."""
    from torchvision.models import densenet

    network = densenet.densenet121(weights=None)
    network.features.conv0 = _stem(network.features.conv0, shape, **SMALL_STEM)
    _without(network.features, *(("norm0", "relu0", "pool0") if is_small(shape) else ()))
    return _without(network, "classifier")


def mobilenetv2(shape: Shape) -> nn.Module:
    """Return MobileNetV2, and its 1,280 features; small images are halved two times fewer."""
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(weights=None, inverted_residual_setting=MOBILENET_STAGES if is_small(shape) else None)
    stem = network.features[0]
    stem[0] = _stem(stem[0], shape, stride=1)
    return _without(network, "classifier")


def transformer(patch: int, shape: Shape) -> nn.Module:
    """Return a vision transformer on patches of that side: depth 7, 12 heads, MLPs of 384, and its 384 features.

    The reference code scales attention by the whole width instead of a head's, and has a second layer before the head; here both are as
    published.

    Raises:
        InputError: the images are not square, or patches do not divide them.
    """
    from torchvision.models import VisionTransformer

    _, height, width = shape
    if height != width or height % patch:
        expected = f"expected square images with a side that {patch} divides"
        raise InputError(f"model 'vit_patch{patch}': {expected}, got {height}x{width}")
    network = VisionTransformer(height, patch, num_layers=7, num_heads=12, hidden_dim=WIDTH, mlp_dim=WIDTH)
    network.conv_proj = _stem(network.conv_proj, shape)
    return _without(network, "heads")


def is_small(shape: Shape) -> bool:
    """Return whether images of that shape are seen at full resolution."""
    return max(shape[1:]) <= SMALL


def _stem(conv: nn.Conv2d, shape: Shape, **of_small_images: object) -> nn.Conv2d:
    """Return a first convolution that takes images of that shape: ``conv`` itself if it does, else one with new weights."""
    changed = of_small_images if is_small(shape) else {}
    if shape[0] == conv.in_channels and not changed:
        return conv
    like = {name: getattr(conv, name) for name in ("out_channels", "kernel_size", "stride", "padding")} | changed
    return nn.Conv2d(shape[0], bias=conv.bias is not None, **like)


def _without(network: Any, *parts: str) -> nn.Module:
    """Return the network with these parts left out."""
    for part in parts:
        setattr(network, part, nn.Identity())
    found: nn.Module = network
    return found


SOURCES: Mapping[Callable[..., nn.Module], str] = {
    residual: 'He et al., "Deep Residual Learning for Image Recognition" (2016)',
    vgg: 'Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015), Table 1; with BatchNorm',
    googlenet: 'Szegedy et al., "Going Deeper with Convolutions" (2015), Table 1; torchvision has a 3x3 convolution for each 5x5',
    densenet121: 'Huang et al., "Densely Connected Convolutional Networks" (2017), Table 1',
    mobilenetv2: 'Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), Table 2',
    transformer: 'Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), Section 3.1, in the size of the paper\'s reference code',
    convolutional: "after the blocks of airbench (github.com/KellerJordan), for CPUs",
    fast_cnn: "after the blocks of airbench (github.com/KellerJordan), for CPUs",
    fast_cnn_learned: "after the blocks of airbench (github.com/KellerJordan), for CPUs",
}
TABLE: Mapping[str, Extractor] = {
    "fast_cnn": fast_cnn,
    "fast_cnn_learned": fast_cnn_learned,
    "densenet121": densenet121,
    "googlenet": googlenet,
    "mobilenetv2": mobilenetv2,
    "resnet18": partial(residual, "resnet18"),
    "resnet34": partial(residual, "resnet34"),
    "resnet50": partial(residual, "resnet50"),
    "small_cnn": partial(convolutional, SMALL_CNN),
    "tiny_cnn": partial(convolutional, TINY_CNN),
    "vgg16": partial(vgg, "D"),
    "vgg19": partial(vgg, "E"),
    "vit_patch4": partial(transformer, 4),
    "vit_patch8": partial(transformer, 8),
}
MODELS: Register[Extractor] = Register("model")
for name, extractor in TABLE.items():
    MODELS.add(name)(extractor)
