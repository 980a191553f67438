"""Every setting that decides the weights of a training."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from unlearnable.errors import InputError
from unlearnable.ranges import AT_LEAST_ONE, FRACTION, NON_NEGATIVE, POSITIVE, POSITIVE_FRACTION, Range
from unlearnable.signatures import nested

ROUNDING = 1e-9  # of steps divided by the steps of an epoch


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes to each training image, drawn in every epoch; zero and false switch one off.

    Args:
        crop: pixels of zero padding before a random crop back to size.
        resized_crop: the least share of the image's area that a crop of a random size and shape (3:4 to 4:3) has before it is
            resized to the whole; zero leaves it out.
        flip: mirror half of the images.
        alternate_flip: an epoch mirrors half of the images and the next one the other half, without a new draw (Jordan, "94% on
            CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498).
        rotation: degrees to either side.
        shear: degrees to either side.
        scale: side length is multiplied by a number in [1 - scale, 1 + scale].
        brightness, contrast, saturation: factors in [1 - x, 1 + x].
        hue: colours are turned by at most this part of a whole turn to either side, about the axis of greys.
        clip_jitter: clip to [0, 1] after each of the three, as torchvision's ColorJitter does. On projected images this
            puts part of the perturbation back (the published recipe does it all the same).
        shuffle_jitter: apply the three in a random order, one for each image, as ColorJitter does; without it, in the order above.
        cutmix: the probability that a batch is mixed by CutMix with beta 1.
    """

    crop: Annotated[int, NON_NEGATIVE] = 0
    resized_crop: Annotated[float, FRACTION] = 0.0
    flip: bool = False
    alternate_flip: bool = False
    rotation: Annotated[float, NON_NEGATIVE] = 0.0
    shear: Annotated[float, NON_NEGATIVE] = 0.0
    scale: Annotated[float, FRACTION] = 0.0
    brightness: Annotated[float, FRACTION] = 0.0
    contrast: Annotated[float, FRACTION] = 0.0
    saturation: Annotated[float, FRACTION] = 0.0
    hue: Annotated[float, Range(ge=0, le=0.5)] = 0.0
    clip_jitter: bool = False
    shuffle_jitter: bool = False
    cutmix: Annotated[float, FRACTION] = 0.0


@dataclass(frozen=True, kw_only=True)
class SimCLR:
    """Settings of a pretraining by SimCLR, by stochastic gradient descent with momentum and a cosine.

    Args:
        batch_size: images, of each of which the network sees two views.
        learning_rate: the largest.
        warmup: the fraction of these epochs in which the learning rate rises linearly from zero.
        temperature: by which likenesses are divided.
        strength: of the views, from 0 to 1: how much is cropped off, how far colours are changed, and in how many images.
        width: of the projection, which is thrown away afterwards.
    """

    epochs: Annotated[int, AT_LEAST_ONE] = 1000
    batch_size: Annotated[int, Range(ge=2)] = 512
    learning_rate: Annotated[float, POSITIVE] = 0.5
    weight_decay: Annotated[float, NON_NEGATIVE] = 1e-4
    warmup: Annotated[float, Range(ge=0, lt=1)] = 0.01
    temperature: Annotated[float, POSITIVE] = 0.5
    strength: Annotated[float, POSITIVE_FRACTION] = 1.0
    width: Annotated[int, AT_LEAST_ONE] = 128


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """Settings of a training by stochastic gradient descent with momentum, or by Adam.

    Epochs, batches, rate and decay are by default those of the networks that the paper probes with deep feature reweighting. Its rate
    changes once an epoch, and its augmentation (``crop`` 4 and ``flip``) is not a default: a mirrored digit is another sign.

    Args:
        learning_rate: the largest of the training.
        momentum: of SGD; the first of Adam's two decays, of which the second is 0.999.
        muon: the largest learning rate of convolutions after the first, trained by Muon in place of SGD; None trains them as all else.
        weight_decay: added to the gradient, for Adam too; with ``muon`` those convolutions have none.
        nesterov: of SGD.
        gradient_clip: the largest norm of the gradient of all weights together; None leaves it as it is.
        warmup: the fraction of all epochs in which the learning rate rises linearly from zero.
        schedule: ``cosine`` or ``linear`` to ``final_learning_rate`` after the warm-up; ``multistep`` multiplies by ``gamma``
            at ``milestones`` (epochs).
        cosine_epochs: the length of the whole cosine or line, which may end after the training does; None is the training less its warm-up.
        rate_changes: the learning rate follows its schedule at every ``step``, or at the start of every ``epoch``.
        initialisation: of convolutions: each network's ``own``, or ``torch``'s default, uniform within one over the root of the fan-in.
        weights: what the network starts from: a safetensors file, such as a checkpoint of a training, or ``timm`` for the weights that timm
            publishes of a network ``timm:NAME``; None draws them. The head is new where the file has another number of classes.
        freeze: what stays as it is, with the statistics of its BatchNorm: ``all but the head``, or one or several parts of the network by
            their names in torch, such as ``layer1``; None trains all, or the head alone after a pretraining.
        pretraining: how the features are learned first, from the images without their labels: ``simclr``; None leaves that out. All other
            settings but ``precision`` and ``weights``, and what a recovery does to batches, are those of the training that follows.
        simclr: settings of that pretraining.
        deviations: of the channels, in units of [0, 1], by which images are divided; None is those of the clean images.
        precision: ``bfloat16`` (autocast and channels_last), ``float32``, or ``auto``: bfloat16 where the device computes in it.
    """

    epochs: Annotated[int, AT_LEAST_ONE] = 60
    batch_size: Annotated[int, AT_LEAST_ONE] = 128
    learning_rate: Annotated[float, POSITIVE] = 0.1
    final_learning_rate: Annotated[float, NON_NEGATIVE] = 0.0
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, Range(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, NON_NEGATIVE] = 5e-4
    nesterov: bool = False
    muon: Annotated[float | None, POSITIVE] = None
    gradient_clip: Annotated[float | None, POSITIVE] = None
    schedule: Literal["cosine", "linear", "multistep"] = "cosine"
    warmup: Annotated[float, Range(ge=0, lt=1)] = 0.0
    cosine_epochs: Annotated[int | None, AT_LEAST_ONE] = None
    rate_changes: Literal["step", "epoch"] = "step"
    milestones: list[int] = field(default_factory=list)
    gamma: Annotated[float, POSITIVE] = 0.1
    label_smoothing: Annotated[float, FRACTION] = 0.0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    initialisation: Literal["own", "torch"] = "own"
    weights: str | None = None
    freeze: str | list[str] | None = None
    pretraining: Literal["simclr"] | None = None
    simclr: SimCLR = field(default_factory=SimCLR)
    deviations: list[float] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.muon is not None and self.optimiser != "sgd":
            raise InputError(f"muon: expected optimiser 'sgd' for all else, got '{self.optimiser}'")

    @property
    def pretraining_epochs(self) -> int:
        """How many epochs go before those of the classifier."""
        return self.simclr.epochs if self.pretraining else 0

    @property
    def all_epochs(self) -> int:
        """How many epochs the whole training has."""
        return self.pretraining_epochs + self.epochs

    def learning_rate_factor(self, epochs_done: float) -> float:
        """Return what the learning rate is multiplied with after ``epochs_done`` (fractional) epochs."""
        warm = self.warmup * self.epochs
        if self.rate_changes == "epoch":
            epochs_done = math.floor(epochs_done + ROUNDING)
            if warm and epochs_done > warm:  # the published warm-up hands over to the cosine an epoch late
                epochs_done -= 1
        if epochs_done < warm:
            return epochs_done / warm
        if self.schedule == "multistep":
            return self.gamma ** sum(epochs_done >= milestone for milestone in self.milestones)
        fallen = (epochs_done - warm) / (self.cosine_epochs or self.epochs - warm)
        left = 1 - fallen if self.schedule == "linear" else (1 + math.cos(math.pi * fallen)) / 2
        final = self.final_learning_rate / self.learning_rate
        return final + (1 - final) * left


def recipe_from(settings: dict[str, Any]) -> TrainingRecipe:
    """Return the recipe that nested ``settings`` describe; the recipe does not say which checkpoints are kept."""
    own = {name: value for name, value in settings.items() if name != "keep_checkpoints"}
    return TrainingRecipe(**nested(TrainingRecipe, own))
