"""Devices, what they compute in, and their memory."""

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from unlearnable.errors import InputError

NO_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # what torch and its libraries say
SAID = 200  # characters of that


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``; ``auto`` is the GPU if there is one. A GPU is set to compute exactly.

    Raises:
        InputError: the name is unknown, or it is ``cuda`` and there is no GPU.
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
    """Make GPUs compute float32 as float32, not as TF32, and by the same convolutions in every run."""
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
    """Turn an error of a full card into one line that names the ``setting`` to lower.

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
    """Return whether ``size`` bytes are at most half of what is free on the card; always true for a CPU."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch holds it, and can use it
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
    """Return copies of ``tensors`` on the CPU; those on a GPU are copied together, once for each type of number."""
    copies = {name: value.detach().clone() for name, value in tensors.items() if value.device.type == "cpu"}
    there = {name: value.detach() for name, value in tensors.items() if name not in copies}
    for kind in {value.dtype for value in there.values()}:
        alike = {name: value for name, value in there.items() if value.dtype == kind}
        parts = torch.cat([value.flatten() for value in alike.values()]).cpu().split([value.numel() for value in alike.values()])
        copies |= {name: part.view(value.shape) for (name, value), part in zip(alike.items(), parts, strict=True)}
    return {name: copies[name] for name in tensors}
