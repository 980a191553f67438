"""What every network has, and how it is made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unlearnable.errors import InputError
from unlearnable.models.any_timm import require_timm, timm_file, timm_network
from unlearnable.models.networks import MODELS, Shape
from unlearnable.models.pretrained import fitting
from unlearnable.of_timm import PREFIX, TIMM, require_published
from unlearnable.register import nearest, unknown
from unlearnable.seeds import borrowed_global_torch

OWN = "own"
ALL_BUT_HEAD = "all but the head"


class ImageClassifier(nn.Module):
    """A feature extractor and the linear head on it.

    Args:
        extractor: images (N, C, H, W) -> features (N, width).
        width: the number of features.
        num_classes: the number of classes.
    """

    def __init__(self, extractor: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = nn.Linear(width, num_classes)
        self._frozen: list[nn.Module] = []  # which stay in evaluation mode

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, width) of normalised images (N, C, H, W)."""
        features: Tensor = self.extractor(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) of normalised images (N, C, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def later_convolutions(self) -> list[Tensor]:
        """Return the weights of all convolutions but the first, which sees pixels; a whitening counts as one."""
        weights = [getattr(part, "weight", None) for part in self.extractor.modules()]
        return [weight for weight in weights if isinstance(weight, Tensor) and weight.ndim == 4][1:]

    def freeze(self, parts: str | Sequence[str]) -> None:
        """Leave parts of the extractor as they are from now on: their weights, and the statistics of their BatchNorm.

        Args:
            parts: ``all but the head``, or one or several names of modules or parameters, as torch has them within ``extractor``.

        Raises:
            InputError: there is no part of that name.
        """
        modules = {name or ALL_BUT_HEAD: part for name, part in self.extractor.named_modules() if _has_weights(part)}
        known: dict[str, nn.Module | nn.Parameter] = dict(self.extractor.named_parameters()) | modules
        for name in [parts] if isinstance(parts, str) else parts:
            if name not in known:
                expected = f"'{ALL_BUT_HEAD}', or names of parts such as {', '.join(_parts(self.extractor))}"
                raise InputError(f"train.freeze: expected {expected}; got '{name}'{nearest(name, list(known))}")
            part = known[name].requires_grad_(False)
            if isinstance(part, nn.Module):
                self._frozen += [each.eval() for each in part.modules() if isinstance(each, _BatchNorm)]

    def train(self, mode: bool = True) -> Self:  # as torch has it
        """Set the mode as torch does; frozen BatchNorm stays in evaluation mode, or each batch would move its statistics."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _parts(module: nn.Module, prefix: str = "") -> list[str]:
    """Return names of the parts with weights: the children of a module, or theirs where there is only one."""
    children = {prefix + name: child for name, child in module.named_children() if _has_weights(child)}
    if len(children) == 1:
        [(name, child)] = children.items()
        return _parts(child, f"{name}.") or [name]
    return list(children)


def build(
    name: str,
    *,
    shape: Shape,
    num_classes: int,
    seed: int,
    initialisation: str = OWN,
    weights: str | None = None,
    setting: str = "train",
) -> ImageClassifier:
    """Return the model of that name; where ``weights`` are not given, its first weights depend on ``seed`` alone.

    Args:
        name: one of MODELS, or ``timm:NAME``.
        shape: channels, height and width of the images.
        num_classes: the number of classes.
        seed: of the first weights.
        initialisation: of convolutions: the network's ``own``, or ``torch`` for the default of torch.
        weights: a safetensors file of a network of that name, such as a checkpoint; or ``timm`` for those that timm publishes.
            The head is new where the file has another number of classes, or none.
        setting: the block of the parameters that names ``weights``, for errors.

    Raises:
        InputError: the name is unknown, the network cannot take images of that shape, or the weights are not its own.
    """
    require_model("model", name)
    require_published(setting, name, weights)
    published = timm_file(name, setting) if weights == TIMM else None
    with borrowed_global_torch(seed, f"model/{name}"):
        extractor = _extractor(name, shape, published)
        for part in extractor.modules() if initialisation != OWN and weights is None else ():
            if isinstance(part, nn.Conv2d):
                part.reset_parameters()
        model = ImageClassifier(extractor, _width(name, extractor, shape), num_classes)
    if weights not in (None, TIMM):
        model.load_state_dict(fitting(model.state_dict(), str(weights), name, setting))
    return model


def require_takes(
    name: str,
    shape: Shape,
    *,
    weights: str | None = None,
    freeze: str | Sequence[str] | None = None,
    muon: float | None = None,
    setting: str = "train",
) -> None:
    """Raise InputError if the model of that name cannot take such images, weights or Muon, or has no such parts; nothing is computed."""
    require_published(setting, name, weights)
    with torch.device("meta"):
        extractor = _extractor(name, shape)
        model = ImageClassifier(extractor, _width(name, extractor, shape), num_classes=1)
    if weights not in (None, TIMM):
        fitting(model.state_dict(), str(weights), name, setting)
    if freeze is not None:
        model.freeze(freeze)
    if muon is not None and not model.later_convolutions():
        raise InputError(f"{setting}.muon: expected a network with two convolutions or more, got model '{name}'")


def _extractor(name: str, shape: Shape, published: Path | None = None) -> nn.Module:
    return timm_network(name, shape, published) if name.startswith(PREFIX) else MODELS[name](shape)


def _width(name: str, extractor: nn.Module, shape: Shape) -> int:
    """Return the number of features of an image; raise InputError if the network cannot take one of that shape."""
    try:
        with torch.inference_mode():
            features = extractor.eval()(torch.zeros(1, *shape))
    except (AssertionError, RuntimeError) as error:  # torch's and timm's, each in its own words
        reason = " ".join(str(error).split())
        raise InputError(f"model '{name}': expected images that it can take, got {shape[0]}x{shape[1]}x{shape[2]} ({reason})") from error
    extractor.train()
    return int(features.shape[1])


def require_model(parameter: str, name: str) -> None:
    """Raise InputError if ``parameter`` names neither a model nor, as ``timm:NAME``, one of timm."""
    if name.startswith(PREFIX):
        require_timm(parameter, name)
    elif name not in MODELS:
        raise unknown(parameter, name, [*MODELS, f"{PREFIX}NAME"], MODELS.broken)
