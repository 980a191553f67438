"""Any network of timm: ``model=timm:NAME``, with the weights that timm publishes where they are asked for."""

from pathlib import Path
from typing import Any

from torch import nn

from unlearnable.errors import InputError
from unlearnable.hub import from_hub, require_package
from unlearnable.of_timm import PREFIX
from unlearnable.register import nearest

SAFE = ".safetensors"
FILE = f"model{SAFE}"  # of a network on the hub


def require_timm(parameter: str, name: str) -> None:
    """Raise InputError if timm is not installed or has no network of that name."""
    require_package("timm", "hub", f"{parameter} '{name}'")
    import timm  # here, since it takes seconds

    if not timm.is_model(name.removeprefix(PREFIX)):
        known = [PREFIX + each for each in timm.list_models()]
        raise InputError(f"unknown {parameter} '{name}': expected one of timm's {len(known)}{nearest(name, known)}")


def timm_file(name: str, setting: str) -> Path:
    """Return the file of the weights that timm publishes for a network; it is downloaded once.

    Args:
        name: with its prefix.
        setting: the block of the parameters that asks for the weights, for errors.

    Raises:
        InputError: timm publishes none as safetensors, or it is not on this machine and cannot be downloaded.
    """
    import timm
    from huggingface_hub import hf_hub_download

    published = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    file, repository = (published and published.hf_hub_filename) or FILE, published and published.hf_hub_id
    if not repository or not file.endswith(SAFE):
        raise InputError(f"{setting}.weights: expected a network that timm publishes weights of as safetensors, got '{name}'")

    def fetch(is_local: bool) -> str:
        return hf_hub_download(repository, file, local_files_only=is_local)  # recipes have its hash  # nosec B615

    return from_hub(repository, f"{setting}.weights: expected the weights of '{name}'", fetch)


def timm_network(name: str, shape: tuple[int, int, int], weights: Path | None = None) -> nn.Module:
    """Return timm's network ``name`` (less the prefix), without its head, for images of that shape, with the weights of that file.

    timm fits these to the number of channels, and the places of a transformer to the size of the images.
    """
    import timm

    own = name.removeprefix(PREFIX)
    published = timm.get_pretrained_cfg(own)
    sized: dict[str, Any] = {"img_size": shape[1:]} if published is not None and published.fixed_input_size else {}
    if weights:
        sized |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    return timm.create_model(own, in_chans=shape[0], num_classes=0, **sized)
