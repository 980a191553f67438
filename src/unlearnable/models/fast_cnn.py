"""A network that reaches 0.9 on CIFAR-10 in few epochs, after airbench (github.com/KellerJordan/cifar10-airbench, airbench94)."""

from torch import Tensor, nn

from unlearnable.models.whitening import Whitening

WIDTHS = (32, 96, 192)
LEARNED = 24  # filters of a first convolution that is learned: as many as whitening has for three channels
MOMENTUM = 0.4  # of BatchNorm's statistics: a training of few steps has few batches to estimate them from
SCALE = 1 / 9  # of the features, so that the first logits are small beside the high learning rate


class SeenTwice(nn.Module):
    """Layers that see each image once in training, and in evaluation also its mirror image, as airbench94 does."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, width) of images (N, C, H, W), in evaluation the means of those of the image and of its mirror image."""
        features: Tensor = self.layers(images)
        if not self.training:
            features = (features + self.layers(images.flip(-1))) / 2
        return features * SCALE


def _conv(channels: int, width: int) -> nn.Conv2d:
    """Return a convolution whose first weights copy its input to its output channels, as many as there are."""
    conv = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:channels])
    return conv


def _block(channels: int, width: int) -> list[nn.Module]:
    # The rounding up keeps 31 pixels on the way to 16, 8 and 4: convolutions of odd sides took a CPU twice as long.
    pooled = [_conv(channels, width), nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(width, momentum=MOMENTUM), nn.ReLU()]
    return [*pooled, _conv(width, width), nn.BatchNorm2d(width, momentum=MOMENTUM), nn.ReLU()]


def fast_cnn(shape: tuple[int, int, int]) -> nn.Module:
    """Return whitening, three blocks of two 3x3 convolutions, the first of each block pooled by two, and their 192 features.

    It takes the blocks and their first weights from airbench94; it is narrower (32, 96 and 192 filters instead of 64, 256 and 256), and has
    ReLU instead of GELU. It is for images that keep their class when they are mirrored.
    """
    whitening = Whitening(shape[0])
    return _after(whitening, len(whitening.bias))


def fast_cnn_learned(shape: tuple[int, int, int]) -> nn.Module:
    """Return ``fast_cnn`` with a first 3x3 convolution that is learned, in place of whitening.

    Whitening amplifies what hardly varies in clean images, and so what a recovery has left of a faint perturbation.
    """
    return _after(nn.Conv2d(shape[0], LEARNED, kernel_size=3, padding=1), LEARNED)


def _after(first: nn.Module, channels: int) -> nn.Module:
    layers: list[nn.Module] = [first, nn.ReLU()]
    for width in WIDTHS:
        layers += _block(channels, width)
        channels = width
    return SeenTwice(nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()))
