"""Weights of the networks that the references ran with, made by whole-number arithmetic so that ours can be given the same ones."""

import math

import torch
from torch import Tensor, nn

PRIME = 1009


def fill(network: nn.Module, *, silent: str = "-", gain: float = 6.0) -> None:
    """Give every parameter, and BatchNorm's statistics, numbers of ``formula``; zeros to those with ``silent`` in their names.

    The others are counted in the order of ``state_dict``. The variance of a convolution's weights is a third of ``gain`` by what it adds
    up, that of a linear layer's one by it. A BatchNorm has a variance of about 100 and weights of about 10, so that what is added to the
    variance does not matter.
    """
    place = 0
    modules = dict(network.named_modules())
    for name, tensor in network.state_dict().items():
        owner, _, kind = name.rpartition(".")
        if silent in name:
            tensor.zero_()
        elif kind != "num_batches_tracked":
            tensor.copy_(scaled(formula(place, tensor.shape), kind, normalises=isinstance(modules[owner], nn.BatchNorm2d), gain=gain))
            place += 1


def formula(place: int, shape: torch.Size) -> Tensor:
    """Return numbers in (-1, 1), float64: ``i**3 + (place + 3) i**2 + 17 i`` modulo 1,009 for the ``i``-th of them, scaled."""
    places = torch.arange(PRIME)
    period = (places**3 + (place + 3) * places**2 + 17 * places) % PRIME
    count = shape.numel()
    return ((2 * period - PRIME + 1) / PRIME).double().repeat(-(-count // PRIME))[:count].view(shape)


def scaled(numbers: Tensor, kind: str, *, normalises: bool, gain: float) -> Tensor:
    """Return ``numbers`` in the scale of a tensor of that kind."""
    if normalises and kind == "running_var":
        return 100 + 50 * numbers
    if numbers.ndim in (2, 4):
        return numbers * math.sqrt((gain if numbers.ndim == 4 else 3) / numbers[0].numel())
    if numbers.ndim == 1 and kind == "weight":
        return (10 if normalises else 1) * (1 + numbers / 2)
    return numbers / 4
