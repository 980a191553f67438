"""Any network of timm, without weights: ``model=timm:NAME``."""

from typing import Any

from torch import nn

from unlearnable.errors import InputError
from unlearnable.register import nearest

PREFIX = "timm:"


def require_timm(parameter: str, name: str) -> None:
    """Raise InputError if timm is not installed or has no network of that name."""
    try:
        import timm  # here, since it takes seconds
    except ImportError:
        raise InputError(f"{parameter} '{name}': expected the package timm, got none") from None
    if not timm.is_model(name.removeprefix(PREFIX)):
        known = [PREFIX + each for each in timm.list_models()]
        raise InputError(f"unknown {parameter} '{name}': expected one of timm's {len(known)}{nearest(name, known)}")


def timm_network(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """Return timm's network ``name`` (less the prefix), without its head, for images of that shape."""
    import timm

    own = name.removeprefix(PREFIX)
    published = timm.get_pretrained_cfg(own)
    sized: dict[str, Any] = {"img_size": shape[1:]} if published is not None and published.fixed_input_size else {}
    return timm.create_model(own, pretrained=False, in_chans=shape[0], num_classes=0, **sized)
