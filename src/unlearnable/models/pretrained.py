"""Weights that a network starts from, instead of random ones: a safetensors file, such as a checkpoint of a training."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from unlearnable.errors import InputError

HEAD = ("head.weight", "head.bias")
State = dict[str, Tensor]


def fitting(own: Mapping[str, Tensor], file: str, name: str, setting: str) -> State:
    """Return the weights in a file for a network, by name; its own head where the file has none for as many classes.

    A head for other classes would be of no use, and nothing is lost: it is a small part that a training learns first. Anything else that
    is missing or differs means another network, or images of another size.

    Args:
        own: the state of the network.
        file: its path.
        name: what the network is called.
        setting: the block of the parameters that names the file, for errors.

    Raises:
        InputError: the file cannot be read, or is of another network.
    """
    found = _read(file, setting)
    if any(_of_other_classes(own[part], found.get(part)) for part in HEAD):
        found |= {part: own[part] for part in HEAD}
    wrong = [_difference(part, own.get(part), found.get(part)) for part in sorted(own.keys() | found.keys())]
    for difference in filter(None, wrong):
        raise InputError(f"{setting}.weights: expected the weights of '{name}' for these images, got {file} {difference}")
    return found


def _of_other_classes(own: Tensor, found: Tensor | None) -> bool:
    return found is None or (own.shape[1:] == found.shape[1:] and len(own) != len(found))


def _difference(part: str, own: Tensor | None, found: Tensor | None) -> str | None:
    """Return in words how what was found differs from a network's own, or None."""
    if own is None or found is None:
        return f"with '{part}', which it has not" if own is None else f"without '{part}'"
    return None if own.shape == found.shape else f"with '{part}' of {tuple(found.shape)} instead of {tuple(own.shape)}"


def _read(file: str, setting: str) -> State:
    if not Path(file).is_file():
        raise InputError(f"{setting}.weights: expected a safetensors file, got {file}, which is none")
    try:
        return safetensors.torch.load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{setting}.weights: expected a safetensors file, got {file} ({' '.join(str(error).split())})") from None
