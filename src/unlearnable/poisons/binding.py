"""BAIT: Li et al., "When Priors Backfire: On the Vulnerability of Unlearnable Examples to Pretraining" (ICLR 2026).

A network that was trained on other images before sees enough to do without a shortcut, so most noise does not protect from it. This noise
has one pattern a class, which a generator makes. It learns to make a surrogate take images of other classes for the class of the pattern
that is added to them, even after a step in which the surrogate learns the patterns with the true labels.

The recipe is that of the code (zhli-cs/BAIT at e81c9c4, perturbation.py:108-205, toolbox.py:32-139, models/GAN.py:16-72,
train_cifar10.sh). Its step is a meta-gradient in name alone: no gradient passes through it, since the noise in it is a constant.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, required_by
from unlearnable.poisons.surrogate import CROP_AND_FLIP, OfEachClass, Surrogate, Workshop, mean_of_each_class
from unlearnable.ranges import AT_LEAST_ONE, POSITIVE, POSITIVE_FRACTION
from unlearnable.seeds import borrowed_global_torch, sent_one
from unlearnable.training import Network
from unlearnable.training.augmentation import augment

STRIDES = (1, 2, 1, 2, 1, 2)  # of the generator's convolutions, and from the last to the first of those that undo them
SMALLEST = 9  # pixels of a side: after three strides of two, two are left


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The network that makes the noise, and its training by Adam.

    Args:
        width: channels of its first convolution; each of the next five has twice as many.
        blocks: residual blocks between its two halves.
        learning_rate: of Adam.
    """

    width: Annotated[int, AT_LEAST_ONE] = 16
    blocks: Annotated[int, AT_LEAST_ONE] = 8
    learning_rate: Annotated[float, POSITIVE] = 1e-3


PUBLISHED = Surrogate(batch_size=512, gradient_clip=5.0)
GENERATION = Generation()


@required_by("bait")
def require_size(clean: LabelledImages, **others: object) -> None:  # noqa: ARG001
    """Raise InputError if images are too small for the generator."""
    if min(clean.shape[1:]) < SMALLEST:
        raise InputError(f"poison 'bait': expected images of at least {SMALLEST} x {SMALLEST}, got {clean.shape[1]} x {clean.shape[2]}")


@POISONS.add("bait")
def bait(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255,
    rounds: Annotated[int, AT_LEAST_ONE] = 90,
    surrogate: Surrogate = PUBLISHED,
    generator: Generation = GENERATION,
) -> Perturbation:
    """Return one pattern for each class that makes a network take images of other classes for that one.

    Args:
        clean: images (N, C, H, W).
        crafting: what decides draws, device and reports.
        linf: bound of the noise, in units of [0, 1].
        rounds: in each, the generator sees all images, and the surrogate takes a step (published: 90). In the first third of them the
            wrong class of an image is the likeliest, in the second any, and in the last the least likely one.
        surrogate: the network and its training (published: ResNet-18 in batches of 512, from weights of ImageNet, where ours are random
            unless it says others).
        generator: what makes the noise.
    """
    require_size(clean)
    workshop = Workshop(clean, crafting, surrogate, "bait")
    maker = Maker(workshop, linf, generator)
    for number, batch in zip(range(rounds), workshop.batches(), strict=False):
        images, labels = _view(workshop, batch), workshop.labels[batch]
        adapted = one_step_on(workshop, images + maker.patterns[labels], labels)
        chunks = workshop.batches_of_all(surrogate.batch_size)
        loss = torch.stack([maker.learn(adapted, chunk, 3 * number // rounds) for chunk in chunks]).mean()
        workshop.trainer.step(images + maker.patterns[labels], labels, workshop.generator)
        crafting.progress(number + 1, rounds)
        crafting.report(number + 1, {"loss": float(loss)})
    return OfEachClass(maker.finished(), workshop.labels).cpu().numpy()


class Maker:
    """The generator, and ``patterns`` (K, C, H, W), the means of its noise on those images of each class that it saw last."""

    def __init__(self, workshop: Workshop, linf: float, settings: Generation) -> None:
        channels, classes = workshop.pixels.shape[1], workshop.num_classes
        with borrowed_global_torch(workshop.crafting.seed, f"{workshop.purpose}/generator"):
            self.network = Generator(channels, settings.width, settings.blocks).to(workshop.pixels.device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.workshop, self.linf = workshop, linf
        self.patterns = torch.zeros(classes, *workshop.pixels.shape[1:], device=workshop.pixels.device)

    def learn(self, adapted: Network, batch: Tensor, stage: int) -> Tensor:
        """Take a step by which images with the pattern of a wrong class are rather taken for it; return the loss before the step."""
        images, labels = _view(self.workshop, batch), self.workshop.labels[batch]
        wrong = wrong_labels(adapted, images, labels, stage, self.workshop.generator)
        seen = (images + self._means(images, labels)[wrong]).clamp(0, 1)
        loss = F.cross_entropy(adapted.forward(seen).float(), wrong)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            present = labels.unique()
            self.patterns[present] = self._means(images, labels)[present]
        return loss.detach()

    @torch.no_grad()
    def finished(self) -> Tensor:
        """Return the mean noise (K, C, H, W) of all images of each class, as they are."""
        self.network.eval()
        labels, patterns = self.workshop.labels, torch.zeros_like(self.patterns)
        totals = torch.bincount(labels, minlength=len(patterns)).clamp(min=1)
        for chunk in self.workshop.chunks():
            shares = torch.bincount(labels[chunk], minlength=len(patterns)) / totals
            patterns += shares.view(-1, 1, 1, 1) * self._means(self.workshop.images(chunk), labels[chunk])
        return patterns

    def _means(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.linf * mean_of_each_class(self.network(images), labels, len(self.patterns))


def one_step_on(workshop: Workshop, images: Tensor, labels: Tensor) -> Network:
    """Return a copy of the surrogate after a step on images, in training mode; the surrogate stays as it is."""
    trainer = workshop.trainer
    model, optimiser = deepcopy((trainer.model.train(), trainer.optimiser))  # together, so that the copy of one steps the copy of the other
    adapted = workshop.network_of(model)
    optimiser.zero_grad()
    F.cross_entropy(adapted.forward(images).float(), labels).backward()
    optimiser.step()
    model.requires_grad_(False)
    return adapted


@torch.no_grad()
def wrong_labels(adapted: Network, images: Tensor, labels: Tensor, stage: int, generator: torch.Generator) -> Tensor:
    """Return for each image the likeliest other class (stage 0), any other (1), or the least likely one (2)."""
    logits = adapted.forward(images)
    if stage == 1:
        others = sent_one(torch.randint(1, logits.shape[1], labels.shape, generator=generator), labels.device)
        return (labels + others) % logits.shape[1]
    return logits.argmin(1) if stage == 2 else logits.scatter(1, labels[:, None], -torch.inf).argmax(1)


def _view(workshop: Workshop, batch: Tensor) -> Tensor:
    return augment(workshop.images(batch), CROP_AND_FLIP, workshop.generator)


class Generator(nn.Module):
    """A network from images (N, C, H, W) in units of [0, 1] to noise of the same shape in [-1, 1].

    Args:
        channels: of an image.
        width: as in ``Generation``.
        blocks: as in ``Generation``.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        widths = [channels, *(width * 2**place for place in range(len(STRIDES)))]
        pairs = list(zip(widths, widths[1:], STRIDES, strict=False))
        down = [layer for before, after, stride in pairs for layer in _normalised(nn.Conv2d(before, after, 3, stride, 1), after)]
        up = [layer for before, after, stride in pairs[:0:-1] for layer in _normalised(_undoing(after, before, stride), before)]
        middle = [Residual(widths[-1]) for _ in range(blocks)]
        self.layers = nn.Sequential(*down, *middle, *up, _undoing(width, channels, 1), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """Return the noise; where a side is no multiple of eight, what the layers make beyond it is left out."""
        noise: Tensor = self.layers(images)[..., : images.shape[2], : images.shape[3]]
        return noise


class Residual(nn.Module):
    """Two convolutions with BatchNorm, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False) for _ in range(2))
        self.layers = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), second, nn.BatchNorm2d(width))

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, width, H, W) of the same."""
        features: Tensor = images + self.layers(images)
        return features


def _normalised(convolution: nn.Module, width: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution, nn.InstanceNorm2d(width), nn.ReLU()


def _undoing(before: int, after: int, stride: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 3, stride, 1, output_padding=stride - 1, bias=False)
