"""Any network of timm: ``model=timm:NAME``, with the weights that timm publishes where they are asked for."""

from pathlib import Path
from typing import Any

from torch import nn

from unlearnable.errors import InputError
from unlearnable.of_timm import PREFIX
from unlearnable.register import nearest

SAFE = ".safetensors"
FILE = f"model{SAFE}"  # of a network on the hub


def require_timm(parameter: str, name: str) -> None:
    """Raise InputError if timm is not installed or has no network of that name."""
    try:
        import timm  # here, since it takes seconds
    except ImportError:
        raise InputError(f"{parameter} '{name}': expected the package timm, got none") from None
    if not timm.is_model(name.removeprefix(PREFIX)):
        known = [PREFIX + each for each in timm.list_models()]
        raise InputError(f"unknown {parameter} '{name}': expected one of timm's {len(known)}{nearest(name, known)}")


def timm_file(name: str) -> Path:
    """Return the file of the weights that timm publishes for a network; it is downloaded once.

    Raises:
        InputError: timm publishes none as safetensors, or it is not on this machine and cannot be downloaded.
    """
    import timm
    from huggingface_hub import hf_hub_download

    published = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    file = (published and published.hf_hub_filename) or FILE
    if published is None or not published.hf_hub_id or not file.endswith(SAFE):
        raise InputError(f"train.weights: expected a network that timm publishes weights of as safetensors, got '{name}'")
    for is_local in (True, False):  # a file that is there is not asked for again
        try:
            return Path(hf_hub_download(published.hf_hub_id, file, local_files_only=is_local))  # recipes have its hash  # nosec B615
        except Exception as error:  # what the hub's client raises, each in its own words
            problem = " ".join(str(error).split())
    raise InputError(f"train.weights: expected the weights of '{name}' on this machine or on the hub, got none ({problem})")


def timm_network(name: str, shape: tuple[int, int, int], *, is_pretrained: bool = False) -> nn.Module:
    """Return timm's network ``name`` (less the prefix), without its head, for images of that shape, maybe with the published weights.

    timm fits these to the number of channels, and the places of a transformer to the size of the images.

    Raises:
        InputError: they cannot be had.
    """
    import timm

    own = name.removeprefix(PREFIX)
    published = timm.get_pretrained_cfg(own)
    sized: dict[str, Any] = {"img_size": shape[1:]} if published is not None and published.fixed_input_size else {}
    if is_pretrained:
        sized |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(timm_file(name))}}
    return timm.create_model(own, in_chans=shape[0], num_classes=0, **sized)
