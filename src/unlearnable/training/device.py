"""Devices, precision and images on the device."""

from dataclasses import replace

import torch
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.images import LARGE, LabelledImages, Projection

Draws = dict[str, Tensor]  # what is random in a step, by name: drawn on the CPU, used on the device
CHUNK = 512  # images projected at once: few enough that the second pass over them finds them in the cache


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``; ``auto`` is the GPU where there is one.

    Raises:
        InputError: where the name is unknown, or a GPU is asked for and missing.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: expected auto, cpu or cuda, got '{name}'")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise InputError("device: expected a CUDA GPU for 'cuda', got a machine without one (use auto or cpu)")
    return torch.device("cuda" if present and name != "cpu" else "cpu")


def computes_in_bfloat16(device: torch.device, precision: str) -> bool:
    """Return whether a training of that precision autocasts to bfloat16 on ``device``."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    if capabilities["architecture"] == "x86_64":  # where it has AVX-512 alone torch emulates bfloat16, slower than float32
        return bool(capabilities["avx512_bf16"] or capabilities["amx_bf16"])
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def sent(draws: Draws, device: torch.device) -> Draws:
    """Return ``draws`` on ``device``; the host does not wait until they are there."""
    return {name: sent_one(value, device) for name, value in draws.items()}


def sent_one(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on ``device``; the host does not wait until it is there, which takes memory that is not paged."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def on_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of ``tensors`` on the CPU; what lies on a GPU comes together, one copy for each type of number."""
    copies = {name: value.detach().clone() for name, value in tensors.items() if value.device.type == "cpu"}
    there = {name: value.detach() for name, value in tensors.items() if name not in copies}
    for kind in {value.dtype for value in there.values()}:
        alike = {name: value for name, value in there.items() if value.dtype == kind}
        parts = torch.cat([value.flatten() for value in alike.values()]).cpu().split([value.numel() for value in alike.values()])
        copies |= {name: part.view(value.shape) for (name, value), part in zip(alike.items(), parts, strict=True)}
    return {name: copies[name] for name in tensors}


def project_out_(flat: Tensor, projection: Projection) -> Tensor:
    """Apply ``projection`` to float images ``flat`` (N, D) in place, chunk by chunk, and return them."""
    directions = torch.from_numpy(projection.basis).to(flat).T.contiguous()
    offsets = directions @ torch.from_numpy(projection.centre).to(flat)[:, None]
    for chunk in flat.split(CHUNK):
        coordinates = directions @ chunk.T - offsets  # (K, n): this way round is a quarter faster than chunk @ basis
        chunk.addmm_(coordinates.T, directions, alpha=-1)
    return flat


class Projected:
    """Images that are projected batch by batch as they are used, for sets that are too large to be held projected."""

    def __init__(self, pixels: Tensor, projection: Projection) -> None:
        self._pixels, self._projection = pixels, projection

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def shape(self) -> torch.Size:
        """Images, channels, height and width."""
        return self._pixels.shape

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Return the images chosen, float32 (n, C, H, W) in units of [0, 1]."""
        pixels = as_float(self._pixels[chosen])
        project_out_(pixels.flatten(1), self._projection)
        return pixels


def seen(images: LabelledImages, device: torch.device) -> Tensor | Projected:
    """Return all images on ``device``, as ``resident`` does; those of a large projected set are projected when they are used."""
    if images.projection is not None and 4 * images.images.size >= LARGE:
        return Projected(resident(replace(images, projection=None), device), images.projection)
    return resident(images, device)


def resident(images: LabelledImages, device: torch.device) -> Tensor:
    """Return all images (N, C, H, W) on ``device``: uint8, or float32 in units of [0, 1] where they are projected.

    On the CPU unprojected images stay where they are; a mapped set is read as it is used.
    """
    pixels = torch.from_numpy(images.images).to(device)
    if images.projection is None:
        return pixels
    pixels = as_float(pixels)
    project_out_(pixels.flatten(1), images.projection)
    return pixels


def as_float(pixels: Tensor) -> Tensor:
    """Return pixels as float32 with uint8 scaled from 0..255 to [0, 1]."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
