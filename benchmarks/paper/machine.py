"""What a result was measured with."""

import platform
import resource
import shutil
import subprocess  # for nvidia-smi and git  # nosec B404
from functools import cache
from typing import Any

import numpy as np
import torch
import torchvision

from benchmarks.timing import ROOT
from unlearnable.training import replay
from unlearnable.training.device import computes_in_bfloat16


@cache
def versions(commit: str | None) -> dict[str, str | None]:
    """Return the versions of all that decides numbers; what is not known is None."""
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "commit": commit or _said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
    }


def _said(program: str, *arguments: str) -> str | None:
    """Return the first line that a program prints, None where it is missing or fails."""
    path = shutil.which(program)
    if path is None:
        return None
    ended = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)  # no shell, our command  # noqa: S603  # nosec B603
    return ended.stdout.split("\n")[0] or None if ended.returncode == 0 else None


def flags(device: torch.device, precision: str) -> dict[str, Any]:
    """Return how the device computes just now."""
    return {
        "precision": "bfloat16" if computes_in_bfloat16(device, precision) else "float32",
        "tf32_cudnn": _flag(lambda: torch.backends.cudnn.allow_tf32),
        "tf32_matmul": _flag(lambda: torch.backends.cuda.matmul.allow_tf32),
        "deterministic": torch.backends.cudnn.deterministic or torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "recorded": device.type == "cuda" and replay.recordings > 0,
        "threads": torch.get_num_threads(),
    }


def _flag(read: Any) -> bool | str:
    try:
        return bool(read())
    except RuntimeError as error:  # torch refuses where it was set by its newer names
        return " ".join(str(error).split())[:80]


def peak_gib(device: torch.device) -> float:
    """Return the most memory of the device that was in use since ``forget_peak``; on the CPU that of the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def forget_peak(device: torch.device) -> None:
    """Begin to look at memory anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
