"""A first convolution that is computed from images instead of learned, as in airbench (github.com/KellerJordan/cifar10-airbench).

Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498): its filters are the principal directions of 2x2 patches, each
divided by the root of its variance and each with both signs, so that its outputs are uncorrelated. They are fixed; a bias is learned.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 2  # of a patch
LEAST_VARIANCE = 5e-4  # added to each, so that directions in which patches hardly differ are not amplified


class Whitening(nn.Module):
    """Convolution (N, C, H, W) -> (N, 8 C, H - 1, W - 1), with random filters until it is fitted."""

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = channels * SIDE**2
        # A buffer, since no step changes it; drawn as torch draws a convolution's, so that it also works unfitted.
        self.register_buffer("weight", nn.Conv2d(channels, 2 * size, SIDE).weight.detach())
        self.bias = nn.Parameter(torch.zeros(2 * size))

    def forward(self, images: Tensor) -> Tensor:
        """Return the filters' outputs for images (N, C, H, W)."""
        return F.conv2d(images, self.weight, self.bias)

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Set the filters by the patches of ``batches`` of normalised images (N, C, H, W), in double precision on the CPU."""
        self.weight.copy_(filters(second_moments(batches), self.weight.shape[1]))


def second_moments(batches: Iterable[Tensor]) -> Tensor:
    """Return the mean products (4 C, 4 C), float64, of the values of a 2x2 patch, over all patches of images (N, C, H, W)."""
    sums, count = [], 0
    for images in batches:
        patches = F.unfold(images.double().cpu(), SIDE).transpose(1, 2).flatten(0, 1)
        sums.append(patches.T @ patches)
        count += len(patches)
    return torch.stack(sums).sum(0) / count


def filters(moments: Tensor, channels: int) -> Tensor:
    """Return the filters (8 C, C, 2, 2) that whiten patches of those second moments, the directions of most variance first."""
    variances, directions = torch.linalg.eigh(moments)
    whitening = (directions / (variances + LEAST_VARIANCE).sqrt()).T.flip(0).unflatten(1, (channels, SIDE, SIDE))
    return torch.cat([whitening, -whitening])
