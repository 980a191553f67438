"""What a recovery is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, balanced_subset, blank
from unlearnable.register import Register
from unlearnable.seeds import numpy_generator, torch_generator
from unlearnable.signatures import nested
from unlearnable.training import Draws, Method, Progress, Trainer, ignore, plain_loss
from unlearnable.training.augmentation import Shape
from unlearnable.training.pixels import FLOATS_AT_ONCE, as_float


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a recovery needs beside poisoned images with their labels and one training.

    Args:
        labels_before: it looks at the labels before the training.
        clean_samples: how many clean images it is given.
        once: it looks at every image once before the training.
        diffusion: it is given a diffusion model of images like the clean ones.
        passes: forward and backward passes for each training image in an epoch; plain training has one.
    """

    labels_before: bool = False
    clean_samples: int = 0
    once: bool = False
    diffusion: bool = False
    passes: float = 1.0

    def in_words(self) -> str:
        """Return what is asked for, in words; empty where it is nothing."""
        asked = {
            f"{self.clean_samples:,} clean images": bool(self.clean_samples),
            "a look at the labels before the training": self.labels_before,
            "a look at every image before the training": self.once,
            "a diffusion model of such images": self.diffusion,
            f"{self.passes:g} times the passes of plain training": self.passes != 1,
        }
        return ", ".join(words for words, is_asked in asked.items() if is_asked)


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """A recovery with its settings. By default it is the control: train on the poisoned set as it is.

    A subclass states its settings as fields, from which the parameter check reads names, types and ranges, and overrides
    the methods that differ.
    """

    name: ClassVar[str] = "none"
    shows_progress: ClassVar[bool] = False  # whether ``recovered`` takes ``progress``, which it calls with steps done and steps in all

    @property
    def needs(self) -> Needs:
        """What it needs."""
        return Needs()

    def require(self, clean: LabelledImages) -> None:
        """Raise InputError if its settings need more than images like ``clean`` have; this is checked before any training."""

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device) -> LabelledImages:  # noqa: ARG002
        """Return the set that is trained on."""
        return poisoned

    def recovered_beside(self, poisoned: LabelledImages, clean: LabelledImages, *, seed: int, device: torch.device) -> LabelledImages:  # noqa: ARG002
        """Return the set that is trained on, where clean samples may be drawn from ``clean`` for it; most recoveries need none."""
        return self.recovered(poisoned, seed=seed, device=device)

    def test(self, test: LabelledImages, recovered: LabelledImages) -> LabelledImages:  # noqa: ARG002
        """Return the test images in the form in which a network trained on ``recovered`` is measured on them."""
        return test

    def method(self, clean: LabelledImages, *, seed: int) -> Method:  # noqa: ARG002
        """Return what differs from plain training; ``clean`` is what clean samples are drawn from."""
        return Method()


class BatchRecovery(Recovery):
    """A recovery that changes each batch, or its loss."""

    mixes: ClassVar[bool] = False  # whether it replaces the CutMix that a training recipe may have

    def method(self, clean: LabelledImages, *, seed: int) -> Method:  # noqa: ARG002
        """Return the method with ``draw`` and ``loss`` in it."""

        def draw(step: int, count: int, shape: Shape) -> Draws:
            return self.draw(
                count, shape, torch_generator(seed, f"recovery/{self.name}/{step}")
            )  # a training that is resumed draws the same

        return Method(loss=self.loss, draw=draw, mixes=self.mixes)

    def draw(self, count: int, shape: Shape, own: torch.Generator) -> Draws:  # noqa: ARG002
        """Return everything that is random in ``loss``, by name, on the CPU; shapes depend on ``count`` and ``shape`` alone.

        Args:
            count: how many images the batch has.
            shape: channels, height and width of an image.
            own: a CPU generator, a new one for every step.
        """
        return {}

    def loss(self, trainer: Trainer, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:
        """Return the loss of a batch that the training recipe has augmented; on a GPU it is recorded, as ``Method`` says.

        Args:
            trainer: of the network.
            images: float32 (N, C, H, W) in units of [0, 1]; projected images may lie outside.
            labels: (N,).
            shared: what plain training drew for the batch, on the device.
            own: what ``draw`` drew, on the device.
        """
        return plain_loss(trainer, self.transform(images, own), labels, shared, own)

    def transform(self, images: Tensor, own: Draws) -> Tensor:  # noqa: ARG002
        """Return another view of the augmented images (N, C, H, W)."""
        return images


RECOVERIES: Register[type[Recovery]] = Register("recovery")


def register(name: str) -> Callable[[type[Recovery]], type[Recovery]]:
    """Register the decorated recovery under ``name``."""

    def keep(kind: type[Recovery]) -> type[Recovery]:
        kind.name = name
        return RECOVERIES.add(name)(kind)

    return keep


def recovery_named(name: str, settings: dict[str, Any]) -> Recovery:
    """Return the recovery of that name with these settings; raise InputError if the name is unknown."""
    kind = RECOVERIES[name]
    return kind(**nested(kind, settings))


def recover(
    name: str,
    poisoned: LabelledImages,
    *,
    seed: int,
    device: torch.device,
    settings: dict[str, Any],
    clean: LabelledImages | None = None,
    progress: Progress = ignore,
) -> LabelledImages:
    """Return the set that the recovery of that name makes of ``poisoned``, with the seconds that it took.

    Args:
        name: of the recovery.
        poisoned: the set.
        seed: decides every draw.
        device: where.
        settings: of the recovery.
        clean: what clean samples are drawn from, by a recovery that needs some to make the set.
        progress: called with steps done and steps in all, by a recovery that takes long.

    Raises:
        InputError: the name is unknown, or there are too few clean images.
    """
    start, chosen = time.perf_counter(), recovery_named(name, settings)
    if clean is None or chosen.shows_progress:
        shown: dict[str, Any] = {"progress": progress} if chosen.shows_progress else {}
        recovered = chosen.recovered(poisoned, seed=seed, device=device, **shown)
    else:
        recovered = chosen.recovered_beside(poisoned, clean, seed=seed, device=device)
    return replace(recovered, seconds=time.perf_counter() - start)


@cache
def transforms() -> Any:
    """Return torchvision's transforms, imported when first used: that takes a second, and most runs need none."""
    from torchvision.transforms.v2 import functional

    return functional


def each_changed(
    images: LabelledImages, function: Callable[[Tensor], Tensor], device: torch.device, *, at_once: int = FLOATS_AT_ONCE
) -> LabelledImages:
    """Return images changed once by ``function`` of float32 chunks (n, C, H, W) in units of [0, 1], rounded to 256 levels."""
    return each_changed_by_label(images, lambda chunk, labels: function(chunk), device, at_once=at_once)  # noqa: ARG005


def each_changed_by_label(
    images: LabelledImages, function: Callable[[Tensor, Tensor], Tensor], device: torch.device, *, at_once: int = FLOATS_AT_ONCE
) -> LabelledImages:
    """Return images changed once, rounded to 256 levels.

    Args:
        images: the set.
        function: of a chunk, float32 (n, C, H, W) in units of [0, 1], and its labels (n,); it returns the changed chunk.
        device: where.
        at_once: how many images a chunk has.
    """
    changed = blank(images.images.shape, np.uint8)
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        chunk, labels = (torch.from_numpy(each[part]).to(device) for each in (images.images, images.labels))
        changed[part] = function(as_float(chunk), labels).mul(255).round_().clamp_(0, 255).byte().cpu().numpy()
    return replace(images, images=changed)


def balanced_samples(clean: LabelledImages, count: int, *, seed: int, setting: str) -> LabelledImages:
    """Return ``count`` clean images, as many of each class as of any other within one.

    Raises:
        InputError: there are fewer; it names the ``setting``.
    """
    try:
        return balanced_subset(clean, count, numpy_generator(seed, "recovery/clean_samples"))
    except InputError as error:
        raise InputError(f"{setting}: {error}") from None
