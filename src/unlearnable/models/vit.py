"""Vision transformers of torchvision in the size of the paper's reference code: width 384, depth 7, 12 heads, MLPs of 384.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), Section 3.1. The reference code scales attention by the whole width
instead of a head's, and has a second layer before the head; here both are as published.
"""

from torch import nn

from unlearnable.models.base import MODELS, Shape, square, taking

WIDTH = 384


@MODELS.add("vit_patch4")
def vit_patch4(shape: Shape) -> nn.Module:
    """Return the vision transformer on patches of 4x4 pixels without its head, and its 384 features."""
    return _transformer("vit_patch4", shape, 4)


@MODELS.add("vit_patch8")
def vit_patch8(shape: Shape) -> nn.Module:
    """Return the vision transformer on patches of 8x8 pixels without its head, and its 384 features."""
    return _transformer("vit_patch8", shape, 8)


def _transformer(name: str, shape: Shape, patch: int) -> nn.Module:
    from torchvision.models import VisionTransformer  # here, since it takes a second that other networks need not wait

    side = square(name, shape, patch)
    network = VisionTransformer(side, patch, num_layers=7, num_heads=12, hidden_dim=WIDTH, mlp_dim=WIDTH)
    network.conv_proj = taking(shape[0], network.conv_proj)
    network.heads = nn.Identity()
    extractor: nn.Module = network
    return extractor
