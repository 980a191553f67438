"""D-VAE: Yu et al., "Purify Unlearnable Examples via Rate-Constrained Variational Autoencoders" (ICML 2024).

An autoencoder may pass on so little that it reconstructs images without their perturbation, which a second decoder learns from the class.
It is trained on the poisoned set, and what it takes for the perturbation is subtracted. A new one is trained on what is left, which
its reconstruction replaces. Settings are those of the code for CIFAR-10 (yuyi-sd/D-VAE at 9d62e4c, main_vae_disentangle.py,
some_scripts.sh and configs/cifar10/resnet18DVAE.yaml).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnable.images import LabelledImages
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE
from unlearnable.recoveries.base import Needs, Recovery, each_changed_by_label, register
from unlearnable.seeds import borrowed_global_torch, sent_one, torch_generator
from unlearnable.training import Progress, ignore
from unlearnable.training.pixels import as_float, resident

KL_WEIGHT = 0.01
FREE_EPOCHS = 11  # in which a perturbation may have any size
SMALL = 0.002  # mean square of a perturbation; a smaller one is no better
LARGEST_GRADIENT = 5.0


@register("d_vae")
@dataclass(frozen=True, kw_only=True)
class DVae(Recovery):
    """The reconstruction of each image by an autoencoder that cannot pass on its perturbation, after what it sees as that is subtracted.

    Args:
        epochs: of each of the two trainings.
        batch_size: of the two trainings, by Adam.
        learning_rate: of the first epoch; it falls along a cosine.
        width: channels of the first convolution; the latent code is made of twice as many.
        latent: numbers of the latent code in each of its places.
        first_rate, second_rate: the Kullback-Leibler divergence of a place of the code, in nats, up to which it costs nothing; in the first
            and in the second training.
    """

    shows_progress: ClassVar[bool] = True

    epochs: Annotated[int, AT_LEAST_ONE] = 60
    batch_size: Annotated[int, AT_LEAST_ONE] = 128
    learning_rate: Annotated[float, POSITIVE] = 0.005
    width: Annotated[int, AT_LEAST_ONE] = 64
    latent: Annotated[int, AT_LEAST_ONE] = 256
    first_rate: Annotated[float, NON_NEGATIVE] = 1.0
    second_rate: Annotated[float, NON_NEGATIVE] = 3.0

    @property
    def needs(self) -> Needs:
        """Labels, and a look at every image."""
        return Needs(labels_before=True, once=True)

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device, progress: Progress = ignore) -> LabelledImages:
        """Return reconstructions of images less perturbations."""
        left, done, steps = poisoned, count(1), 2 * self.epochs * math.ceil(len(poisoned) / self.batch_size)
        for stage, rate in enumerate((self.first_rate, self.second_rate)):
            generator = torch_generator(seed, f"recovery/{self.name}/{stage}")
            with borrowed_global_torch(seed, f"recovery/{self.name}/{stage}"):
                autoencoder = Autoencoder(left.shape, left.num_classes, self.width, self.latent).to(device)
            self.train(autoencoder, left, rate, generator, lambda: progress(next(done), steps))
            left = self._purified(autoencoder.eval(), left, generator, reconstruct=stage == 1)
        return left

    def train(
        self, autoencoder: "Autoencoder", images: LabelledImages, rate: float, generator: torch.Generator, after: Callable[[], None]
    ) -> None:
        """Train an autoencoder on images; up to ``rate`` nats in a place of its code cost nothing. ``after`` is called after each step."""
        optimiser = torch.optim.Adam(autoencoder.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)
        device = autoencoder.device
        pixels, labels = resident(images, device), torch.from_numpy(images.labels).to(device)
        autoencoder.train()
        for epoch in range(self.epochs):
            for chosen in torch.randperm(len(pixels), generator=generator).split(self.batch_size):
                places = sent_one(chosen, device)
                seen = as_float(pixels[places])
                loss = rate_constrained_loss(seen, autoencoder(seen, labels[places], generator), rate, bounded=epoch >= FREE_EPOCHS)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(autoencoder.parameters(), LARGEST_GRADIENT)
                optimiser.step()
                after()
            schedule.step()

    @torch.no_grad()
    def _purified(
        self, autoencoder: "Autoencoder", images: LabelledImages, generator: torch.Generator, *, reconstruct: bool
    ) -> LabelledImages:
        """Return images less their perturbations, or the reconstructions of these."""

        def purified(some: Tensor, labels: Tensor) -> Tensor:
            decoded: Decoded = autoencoder(some, labels, generator)
            left = (some - decoded.perturbation).clamp(0, 1)
            if reconstruct:
                decoded = autoencoder(left, labels, generator)
            return decoded.images if reconstruct else left

        return each_changed_by_label(images, purified, autoencoder.device, at_once=self.batch_size)


class Decoded(NamedTuple):
    """What an autoencoder makes of images.

    Args:
        images: their reconstruction (N, C, H, W) in [0, 1].
        perturbation: (N, C, H, W).
        divergence: of the latent codes from standard normal ones, in nats, the mean over images and places.
    """

    images: Tensor
    perturbation: Tensor
    divergence: Tensor


def rate_constrained_loss(images: Tensor, decoded: Decoded, rate: float, *, bounded: bool) -> Tensor:
    """Return the loss of a batch (N, C, H, W); ``bounded`` asks for a small perturbation too."""
    whole = (decoded.images + decoded.perturbation).clamp(0, 1)
    loss = F.mse_loss(decoded.images, images) + F.mse_loss(whole, images) + KL_WEIGHT * decoded.divergence.clamp(min=rate)
    return loss + decoded.perturbation.square().mean().clamp(min=SMALL) if bounded else loss


class Autoencoder(nn.Module):
    """A residual stem, a latent code at half of its side, and a decoder of images and one of perturbations.

    Args:
        shape: channels, height and width of images.
        num_classes: each has an embedding, which is added to the code before the perturbation is decoded.
        width: channels of the stem.
        latent: numbers of the code in each of its places.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, width: int, latent: int) -> None:
        from torchvision.models.resnet import BasicBlock  # it takes a second, and few runs need it

        super().__init__()
        channels, height, width_of_images = shape
        self.coded = (2 * width, math.ceil(height / 2), math.ceil(width_of_images / 2))
        shortcut = nn.Sequential(nn.Conv2d(width, 2 * width, 1, stride=2, bias=False), nn.BatchNorm2d(2 * width))
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            BasicBlock(width, width),
            BasicBlock(width, width),
            BasicBlock(width, 2 * width, stride=2, downsample=shortcut),
        )
        self.mean, self.log_variance = nn.Conv2d(2 * width, latent, 1), nn.Conv2d(2 * width, latent, 1)
        self.code = nn.Conv2d(latent, 2 * width, 1)
        self.embedding = nn.Embedding(num_classes, math.prod(self.coded))
        self.decoder, self.decoder_of_perturbations = _decoder(width, channels), _decoder(width, channels)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.embedding.weight.device

    def forward(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Decoded:
        """Return what it makes of images (N, C, H, W) in [0, 1] with labels (N,); ``generator``, of the CPU, draws the code."""
        height, width = images.shape[2:]
        stem = self.stem(images)
        mean, log_variance = self.mean(stem), self.log_variance(stem)
        noise = sent_one(torch.randn(mean.shape, generator=generator), self.device)
        code = self.code(mean + (log_variance / 2).exp() * noise)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        embedded = code + self.embedding(labels).view(-1, *self.coded)
        # An odd side has been doubled to one more.
        reconstruction, perturbation = self.decoder(code).sigmoid()[:, :, :height, :width], self.decoder_of_perturbations(embedded)
        return Decoded(reconstruction, perturbation[:, :, :height, :width], divergence)


def _decoder(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.ConvTranspose2d(width, width, 3, padding=1),
        nn.InstanceNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, math.ceil(width / 2), 3, padding=1),
        nn.InstanceNorm2d(math.ceil(width / 2)),
        nn.ReLU(),
        nn.ConvTranspose2d(math.ceil(width / 2), channels, 3, padding=1),
    )
