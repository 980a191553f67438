"""Devices, precision, memory, and images on the device."""

import math
import platform
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.images import LARGE, LabelledImages, Projection
from unlearnable.seeds import sent_one

CHUNK = 512  # images projected at once: few enough that the second pass over them finds them in the cache
NO_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # what torch and its libraries say
FLOAT_BYTES = 4
SAID = 200  # characters of that


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``; ``auto`` is the GPU where there is one, which then computes exactly.

    Raises:
        InputError: where the name is unknown, or a GPU is asked for and missing.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: expected auto, cpu or cuda, got '{name}'")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise InputError("device: expected a CUDA GPU for 'cuda', got a machine without one (use auto or cpu)")
    if not present or name == "cpu":
        return torch.device("cpu")
    compute_exactly()
    return torch.device("cuda")


def compute_exactly() -> None:
    """Have GPUs compute float32 as float32, not as TF32, and by the same convolutions in every run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has another API for TF32 too, and raises where the two are mixed: this one is everywhere
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def made_on(device: torch.device, precision: str) -> dict[str, str]:
    """Return what a training of that precision is made on: the facts that may change its bytes beside its recipe.

    Returns:
        ``device`` (cpu or cuda), its ``name``, ``precision`` (float32 or bfloat16), ``torch`` (its version), and of a GPU ``flags``.
    """
    computed = "bfloat16" if computes_in_bfloat16(device, precision) else "float32"
    found = {"device": device.type, "name": name_of(device), "precision": computed, "torch": torch.__version__}
    return found | ({"flags": _flags()} if device.type == "cuda" else {})


def name_of(device: torch.device) -> str:
    """Return the name of the card, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


@cache
def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(errors="replace").splitlines() if told.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _flags() -> str:
    tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return f"{'' if torch.backends.cudnn.deterministic else 'not '}deterministic, TF32 {'on' if tf32 else 'off'}"


@contextmanager
def enough_memory(setting: str) -> Iterator[None]:
    """Let what does not fit the card end with one line, which names the ``setting`` to lower.

    Raises:
        InputError: the card is out of memory.
    """
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split())
        if not is_out_of_memory(error):
            raise
        card = name_of(torch.device("cuda")) if torch.cuda.is_available() else "the GPU"
        raise InputError(f"device: out of memory on {card}: lower {setting} ({said[:SAID]})") from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch, or a library of the card, found too little memory there."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


def has_room(device: torch.device, size: int) -> bool:
    """Return whether ``size`` bytes are at most half of what is free on the card; of a CPU that is not asked."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # which torch holds, and gives to whom asks
    return size <= (free + unused) / 2


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


def on_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of ``tensors`` on the CPU; what lies on a GPU comes together, one copy for each type of number."""
    copies = {name: value.detach().clone() for name, value in tensors.items() if value.device.type == "cpu"}
    there = {name: value.detach() for name, value in tensors.items() if name not in copies}
    for kind in {value.dtype for value in there.values()}:
        alike = {name: value for name, value in there.items() if value.dtype == kind}
        parts = torch.cat([value.flatten() for value in alike.values()]).cpu().split([value.numel() for value in alike.values()])
        copies |= {name: part.view(value.shape) for (name, value), part in zip(alike.items(), parts, strict=True)}
    return {name: copies[name] for name in tensors}


class OnHost:
    """Images, or their noise, that stay on the host since they would fill the card: what is chosen goes there when it is used.

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
    if has_room(device, FLOAT_BYTES * math.prod(shape)):
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
        for chunk in flat.split(CHUNK):
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
    """Return all images for ``device``, as ``resident`` does; those of a projected set are projected when used where they are many."""
    size = FLOAT_BYTES * images.images.size
    if images.projection is not None and (size >= LARGE or not has_room(device, size)):
        return Projected(resident(replace(images, projection=None), device), images.projection)
    return resident(images, device)


def resident(images: LabelledImages, device: torch.device) -> Pixels:
    """Return all images (N, C, H, W) on ``device``: uint8, or float32 in units of [0, 1] where they are projected.

    Unprojected images stay on the host where they would take more than half of what is free on the card. On the CPU they stay where
    they are; a mapped set is read as it is used.
    """
    pixels = torch.from_numpy(images.images)
    if images.projection is None:
        return pixels.to(device) if has_room(device, pixels.nbytes) else OnHost(pixels, device)
    return Projector(images.projection, device)(as_float(pixels.to(device)))


def as_float(pixels: Tensor) -> Tensor:
    """Return pixels as float32 with uint8 scaled from 0..255 to [0, 1]."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
