"""Recoveries that keep the low frequencies of images.

Kim and Sandoval-Segura, "Learning from Convolution-based Unlearnable Datasets" (AdvML Frontiers at NeurIPS 2024), call them frequency
filtering, FF, and random sharpening kernels, RSK+FF; settings are those of their code (aseriesof-tubes/RSK at 911680e, augments.py). Test
images stay as they are.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.ranges import NON_NEGATIVE, POSITIVE_FRACTION, Range
from unlearnable.recoveries.base import BatchRecovery, register
from unlearnable.recoveries.pixels import PixelRecovery
from unlearnable.training import Draws
from unlearnable.training.augmentation import Shape

ROUNDING = 1e-9  # of a share of the frequencies: 0.29 of 100 are 29


@register("low_pass")
@dataclass(frozen=True, kw_only=True)
class LowPass(PixelRecovery):
    """The low frequencies of each channel, by a cosine transform of the whole image.

    Args:
        share: of the frequencies that are kept, from the lowest on, in each direction; 0.3 is published, which is 9 of 32.
    """

    share: Annotated[float, POSITIVE_FRACTION] = 0.3

    def change(self, images: Tensor) -> Tensor:
        """Return smooth images in [0, 1]."""
        return low_passed(images, self.share)


@register("sharpening")
@dataclass(frozen=True, kw_only=True)
class Sharpening(BatchRecovery):
    """A random kernel sharpens each image, and its low frequencies are kept; both are clipped to [0, 1].

    Args:
        centre: the mean number in the middle of a kernel of 3x3. The four beside it add up to what it is above one, with a minus, and the
            corners are zero.
        deviation: of each of the five numbers.
        share: of the frequencies that are kept, as in ``low_pass``.
    """

    centre: Annotated[float, Range(ge=1)] = 2.5
    deviation: Annotated[float, NON_NEGATIVE] = 0.1
    share: Annotated[float, POSITIVE_FRACTION] = 0.3

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:  # noqa: ARG002
        """Return a kernel (N, 1, 3, 3) for each image, the same for all of its channels."""
        noise = self.deviation * torch.randn(count, 5, generator=own)
        centres = self.centre + noise[:, :1]
        kernels = torch.zeros(count, 9)
        kernels[:, 4:5] = centres
        kernels[:, 1::2] = -((centres - 1) / 4 + noise[:, 1:])  # above, left, right, below
        return {"kernels": kernels.view(count, 1, 3, 3)}

    def transform(self, images: Tensor, own: Draws) -> Tensor:
        """Return sharpened images in [0, 1] without their high frequencies."""
        return low_passed(sharpened(images, own["kernels"]), self.share)


def sharpened(images: Tensor, kernels: Tensor) -> Tensor:
    """Return images (N, C, H, W), each filtered by its kernel (N, 1, 3, 3) with its border repeated, clipped to [0, 1]."""
    framed = F.pad(images, (1, 1, 1, 1), mode="replicate")
    # Channels take the place of images and images that of channels, so that each image is a group with a kernel of its own.
    return F.conv2d(framed.transpose(0, 1), kernels, groups=len(images)).transpose(0, 1).clamp(0, 1)


def low_passed(images: Tensor, share: float) -> Tensor:
    """Return images (N, C, H, W) with ``share`` of their frequencies, at least one, in each direction; clipped to [0, 1]."""
    rows, columns = (_low_frequencies(images, dim, share) for dim in (2, 3))
    return (rows.T @ (rows @ images @ columns.T) @ columns).clamp(0, 1)


def _low_frequencies(images: Tensor, dim: int, share: float) -> Tensor:
    """Return the first rows (K, D) of the orthonormal cosine transform (DCT-II) along a dimension of size D."""
    size = images.shape[dim]
    kept = max(1, math.floor(share * size + ROUNDING))
    # Made on the device: what a GPU records may copy nothing from the host.
    frequencies, places = (torch.arange(number, device=images.device) for number in (kept, size))
    waves = (torch.outer(frequencies, places + 0.5) * (math.pi / size)).cos() * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves
