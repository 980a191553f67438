"""Numbers of parameters and of multiplications, beside the published ones."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from unlearnable.models import MODELS, build

# Parameters with ten classes on 3x32x32 images. Those of the published CIFAR variants (github.com/kuangliu/pytorch-cifar), but
# googlenet's (6,166,250 there) and mobilenetv2's (2,296,922 there), since torchvision's blocks are smaller.
PARAMETERS = {
    "small_cnn": 292_586,
    "tiny_cnn": 139_810,
    # Whitening has 24 biases, the convolutions 24 32 9 + 32 32 9 + 32 96 9 + 96 96 9 + 96 192 9 + 192 192 9 weights, BatchNorm
    # 4 (32 + 96 + 192), the head 193 10.
    "fast_cnn": 627_618,
    # 24 3 9 weights and 24 biases in place of the 24 biases.
    "fast_cnn_learned": 628_266,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
    "vgg16": 14_728_266,
    "vgg19": 20_040_522,
    "densenet121": 6_956_298,
    "mobilenetv2": 2_236_682,
    "googlenet": 5_490_986,
    "vit_patch4": 6_268_810,
    "vit_patch8": 6_305_674,
}
# Millions of multiplications for one such image, as tables of these variants have them (0.56, 1.16 and 1.30 billion for ResNets;
# github.com/chenyaofo/pytorch-cifar-models has 313.73, 398.66 and 87.98 for VGG-16, VGG-19 and MobileNetV2).
MULTIPLICATIONS = {
    "small_cnn": 38.64,
    "tiny_cnn": 6.859,
    # At 31 pixels 12 24 + 24 32 9, at 16 32 32 9 + 32 96 9, at 8 96 96 9 + 96 192 9, at 4 192 192 9, all for the mirror image too.
    "fast_cnn": 75.18,
    # At 32 pixels 24 3 9 + 24 32 9, and the rest as there.
    "fast_cnn_learned": 76.83,
    "resnet18": 556,
    "resnet34": 1160,
    "resnet50": 1300,
    "vgg16": 313.5,
    "vgg19": 398.4,
    "densenet121": 888.4,
    "googlenet": 1337.1,
    "mobilenetv2": 87.98,
    "vit_patch4": 426.5,
    "vit_patch8": 108.0,
}
TORCHVISION = ["resnet18", "resnet34", "resnet50", "vgg16", "vgg19", "googlenet", "densenet121", "mobilenetv2"]


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shaped(name: str, side: int, classes: int) -> torch.nn.Module:
    """Return a network without numbers in it."""
    with torch.device("meta"):
        return build(name, shape=(3, side, side), num_classes=classes, seed=0).eval()


def multiplications(model: torch.nn.Module, side: int) -> float:
    with FlopCounterMode(display=False) as counter:  # in inference mode transformers take a way that is not counted
        model(torch.zeros(1, 3, side, side, device="meta"))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("name", TORCHVISION)
def test_large_images_get_the_published_network(name):
    published = get_model_weights(
        {"vgg16": "vgg16_bn", "vgg19": "vgg19_bn", "mobilenetv2": "mobilenet_v2"}.get(name, name)
    ).IMAGENET1K_V1.meta
    model = shaped(name, 224, 1000)
    assert count(model) == published["num_params"]
    assert multiplications(model, 224) == pytest.approx(1e9 * published["_ops"], rel=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_multiplications_of_small_images(name):
    model = shaped(name, 32, 10)
    assert count(model) == PARAMETERS[name]
    assert multiplications(model, 32) == pytest.approx(1e6 * MULTIPLICATIONS[name], rel=0.01)
