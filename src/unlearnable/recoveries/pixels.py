"""Recoveries that change the poisoned images once, before the training; test images stay as they are.

Grayscale and JPEG are the two transforms of Liu et al., "Image Shortcut Squeezing: Countering Perturbative Availability Poisons
with Compression" (ICML 2023), whose code has a median filter too; reduced bit depth and Gaussian blur are columns of APBench (Qin et al.,
2023), which drops low bits and has a sigma of 0.1 pixels. Changed images are rounded to 256 levels once.
"""

from dataclasses import dataclass
from typing import Annotated

import scipy.ndimage
import torch
from torch import Tensor

from unlearnable.images import LabelledImages
from unlearnable.ranges import POSITIVE, Range
from unlearnable.recoveries.base import Needs, Recovery, each_changed, register, transforms


class PixelRecovery(Recovery):
    """A recovery that changes every image once."""

    @property
    def needs(self) -> Needs:
        """A look at every image."""
        return Needs(once=True)

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device) -> LabelledImages:  # noqa: ARG002
        """Return the changed set."""
        return each_changed(poisoned, self.change, device)

    def change(self, images: Tensor) -> Tensor:
        """Return changed images (N, C, H, W), float32, of images in units of [0, 1]."""
        raise NotImplementedError


@register("grayscale")
@dataclass(frozen=True, kw_only=True)
class Grayscale(PixelRecovery):
    """Each pixel's luma in all of its channels; images with one channel are left as they are."""

    def change(self, images: Tensor) -> Tensor:
        """Return images with equal channels."""
        return in_grey(images)


def in_grey(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) with the luma of each pixel in all channels; those with one channel as they are."""
    if images.shape[1] == 1:
        return images
    grey: Tensor = transforms().rgb_to_grayscale(images, num_output_channels=3)
    return grey


@register("jpeg")
@dataclass(frozen=True, kw_only=True)
class Jpeg(PixelRecovery):
    """JPEG and back.

    Args:
        quality: of the encoder, 1 to 100 (published: 10).
    """

    quality: Annotated[int, Range(ge=1, le=100)] = 10

    def change(self, images: Tensor) -> Tensor:
        """Return images as they come back from JPEG."""
        levels = images.mul(255).round().byte().cpu()  # the encoder works on the CPU
        back = torch.stack([transforms().jpeg(image, self.quality) for image in levels])
        return back.to(images.device).float().div(255)


@register("bdr")
@dataclass(frozen=True, kw_only=True)
class BitDepthReduction(PixelRecovery):
    """Each channel is rounded to few levels, black and white among them.

    Args:
        bits: of a channel that are kept, 1 to 8.
    """

    bits: Annotated[int, Range(ge=1, le=8)] = 2

    def change(self, images: Tensor) -> Tensor:
        """Return images of at most 2**bits levels."""
        steps = 2**self.bits - 1
        return images.mul(steps).round().div(steps)


@register("gaussian_blur")
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(PixelRecovery):
    """A blur by a Gaussian kernel.

    Args:
        radius: of the kernel, in pixels; it is 2 radius + 1 wide.
        sigma: its standard deviation, in pixels.
    """

    radius: Annotated[int, Range(ge=1)] = 1
    sigma: Annotated[float, POSITIVE] = 1.0

    def change(self, images: Tensor) -> Tensor:
        """Return blurred images."""
        size = 2 * self.radius + 1
        blurred: Tensor = transforms().gaussian_blur(images, [size, size], [self.sigma, self.sigma])
        return blurred


@register("median_filter")
@dataclass(frozen=True, kw_only=True)
class MedianFilter(PixelRecovery):
    """The median of the pixels around each, in each channel; a pixel that differs from all around it is gone.

    Args:
        radius: of the window, in pixels; it is 2 radius + 1 wide, three in the code of the source.
    """

    radius: Annotated[int, Range(ge=1)] = 1

    def change(self, images: Tensor) -> Tensor:
        """Return filtered images; beyond the border is what is on it."""
        size = 2 * self.radius + 1
        filtered = scipy.ndimage.median_filter(images.cpu().numpy(), size=(1, 1, size, size), mode="nearest")
        return torch.from_numpy(filtered).to(images.device)
