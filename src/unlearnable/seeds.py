"""Randomness as an argument: every random thing has a generator of its own, derived from the seed and its purpose.

The global generators of torch and NumPy are never read, so that results do not depend on what ran before.
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

Draws = dict[str, Tensor]  # what is random in a step, by name: drawn on the CPU, used on the device

_GLOBAL_TORCH = threading.Lock()


def derive(seed: int, purpose: str) -> int:
    """Return a number in [0, 2**63) that depends on ``seed`` and ``purpose`` alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, purpose: str) -> torch.Generator:
    """Return a CPU generator: small draws are made there and moved, so that every device sees the same ones."""
    return torch.Generator().manual_seed(derive(seed, purpose))


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a NumPy generator for ``purpose``."""
    return np.random.default_rng(derive(seed, purpose))


def uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return numbers between -1 and 1, on the CPU; ``generator`` is a CPU generator."""
    return torch.rand(tuple(shape), generator=generator).mul_(2).sub_(1)


def sent(draws: Draws, device: torch.device) -> Draws:
    """Return ``draws`` on ``device``; the host does not wait until they are there."""
    return {name: sent_one(value, device) for name, value in draws.items()}


def sent_one(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on ``device``; the host does not wait until it is there, which takes memory that is not paged."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@contextmanager
def borrowed_global_torch(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch's global generator for the block and put it back as it was.

    Layers of torch and torchvision draw their first weights from the global generator and take no other. The lock keeps
    trainings that run as threads of one process from drawing from each other's seed. ``torch.manual_seed`` would seed the
    generators of GPUs too, which nothing here puts back.
    """
    with _GLOBAL_TORCH, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, purpose))
        yield
