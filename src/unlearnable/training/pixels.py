"""Images on a device: as bytes or as numbers in units of [0, 1], seen through a projection where they have one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unlearnable.images import LARGE, LabelledImages, Projection
from unlearnable.seeds import sent_one
from unlearnable.training import device as devices

FLOATS_AT_ONCE = 512  # images of float32: few enough that a second pass over them finds them in the cache
FLOAT_BYTES = 4


class OnHost:
    """Images, or their noise, that stay on the host since they would fill the card; chosen ones are copied there when used.

    It is indexed like a tensor, by a slice or by places (n,) on any device, and gives tensors on its ``device``.
    """

    def __init__(self, images: Tensor, device: torch.device) -> None:
        self._images, self.device = images, device

    def __len__(self) -> int:
        return len(self._images)

    @property
    def shape(self) -> torch.Size:
        """That of all images."""
        return self._images.shape

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Return the images chosen, on the device."""
        images = self._images[_on_cpu(chosen)]
        return sent_one(images, self.device)

    def __setitem__(self, chosen: Tensor | slice, images: Tensor) -> None:
        self._images[_on_cpu(chosen)] = images.to("cpu")

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, ``size`` at a time, on the device."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def flatten(self, start: int) -> "OnHost":
        """Return the same images with all dimensions from ``start`` on in one."""
        return OnHost(self._images.flatten(start), self.device)

    def cpu(self) -> Tensor:
        """Return all images, on the host."""
        return self._images


def _on_cpu(chosen: Tensor | slice) -> Tensor | slice:
    return chosen if isinstance(chosen, slice) else chosen.cpu()


Pixels = Tensor | OnHost


def no_noise(shape: Sequence[int], device: torch.device) -> Pixels:
    """Return zeros, float32, to be written to: on ``device``, or on the host where they would take more than half of what is free there."""
    if devices.has_room(device, FLOAT_BYTES * math.prod(shape)):
        return torch.zeros(*shape, device=device)
    return OnHost(torch.zeros(*shape), device)


class Projector:
    """A projection on a device, where it is applied to many batches."""

    def __init__(self, projection: Projection, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self._directions = torch.from_numpy(projection.basis).to(device, dtype).T.contiguous()
        self._offsets = self._directions @ torch.from_numpy(projection.centre).to(device, dtype)[:, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Return float images (N, ...) projected, chunk by chunk; in place where they are contiguous, as a copy where they are not."""
        flat = images.flatten(1)
        for chunk in flat.split(FLOATS_AT_ONCE):
            coordinates = self._directions @ chunk.T - self._offsets  # (K, n): this way round is a quarter faster than chunk @ basis
            chunk.addmm_(coordinates.T, self._directions, alpha=-1)
        return flat.view(images.shape)


def project_out_(flat: Tensor, projection: Projection) -> Tensor:
    """Apply ``projection`` to contiguous float images ``flat`` (N, D) in place, and return them."""
    return Projector(projection, flat.device, flat.dtype)(flat)


class Projected:
    """Images that are projected batch by batch as they are used, for sets that are too large to be held projected."""

    def __init__(self, pixels: Pixels, projection: Projection) -> None:
        self.pixels, self._projector = pixels, Projector(projection, pixels.device)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> torch.Size:
        """Images, channels, height and width."""
        return self.pixels.shape

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Return the images chosen, float32 (n, C, H, W) in units of [0, 1]."""
        return self._projector(as_float(self.pixels[chosen]))


def lies_on_host(pixels: Pixels | Projected) -> bool:
    """Return whether images are looked up on the host, so that a GPU need not be asked which ones."""
    return isinstance(pixels, OnHost) or (isinstance(pixels, Projected) and lies_on_host(pixels.pixels))


def seen(images: LabelledImages, device: torch.device) -> Pixels | Projected:
    """Return all images for ``device``, as ``resident`` does; a large projected set is projected when used."""
    size = FLOAT_BYTES * images.images.size
    if images.projection is not None and (size >= LARGE or not devices.has_room(device, size)):
        return Projected(resident(replace(images, projection=None), device), images.projection)
    return resident(images, device)


def resident(images: LabelledImages, device: torch.device) -> Pixels:
    """Return all images (N, C, H, W) on ``device``: uint8, or float32 in units of [0, 1] where they are projected.

    Unprojected images stay on the host where they would take more than half of what is free on the card. On the CPU they stay where
    they are; a mapped set is read as it is used.
    """
    pixels = torch.from_numpy(images.images)
    if images.projection is None:
        return pixels.to(device) if devices.has_room(device, pixels.nbytes) else OnHost(pixels, device)
    return Projector(images.projection, device)(as_float(pixels.to(device)))


def as_float(pixels: Tensor) -> Tensor:
    """Return pixels as float32 with uint8 scaled from 0..255 to [0, 1]."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
