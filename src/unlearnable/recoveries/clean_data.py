"""Recoveries that need some clean images."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from unlearnable.images import LabelledImages
from unlearnable.probes import fitted_head
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE
from unlearnable.recoveries.base import Needs, Recovery, balanced_samples, register
from unlearnable.seeds import torch_generator
from unlearnable.training import Method, Network, Trainer, TrainingRecipe, ignore
from unlearnable.training.pixels import resident


@dataclass(frozen=True, kw_only=True)
class CleanDataRecovery(Recovery):
    """Training on the poisoned set as it is, with some use of clean images beside it.

    Args:
        clean_samples: how many clean images.
        sample_seed: which; not the cell's seed, so that cells share them.
    """

    clean_samples: Annotated[int, AT_LEAST_ONE] = 1000
    sample_seed: Annotated[int, NON_NEGATIVE] = 0

    @property
    def needs(self) -> Needs:
        """Clean images."""
        return Needs(clean_samples=self.clean_samples)

    def require(self, clean: LabelledImages) -> None:
        """Raise InputError if there are too few clean images."""
        self.samples(clean.without_pixels())

    def samples(self, clean: LabelledImages) -> LabelledImages:
        """Return the clean images; raise InputError if there are too few."""
        return balanced_samples(clean, self.clean_samples, seed=self.sample_seed, setting=f"recover.{self.name}.clean_samples")


@register("early_stopping")
@dataclass(frozen=True, kw_only=True)
class EarlyStopping(CleanDataRecovery):
    """Training on the poisoned set as it is; the epoch that is best on clean images is taken."""

    def method(self, clean: LabelledImages, *, seed: int) -> Method:  # noqa: ARG002
        """Return plain training, measured on the clean images after every epoch too."""
        return Method(held_out=self.samples(clean))


@register("dfr")
@dataclass(frozen=True, kw_only=True)
class DeepFeatureReweighting(CleanDataRecovery):
    """Training on the poisoned set as it is, then a new head fitted to the features of clean images.

    It is the estimator ``frozen`` of the probe of that name. Only the last epoch is measured with the new head, so the accuracy of the last
    epoch is this recovery's, and the peak may be the network's own.

    Args:
        clean_samples: 5,000 are published for CIFAR-10.
        l2: of the head on standardised features: l2 / 2 times its squared weights is added to its mean cross-entropy.
    """

    clean_samples: Annotated[int, AT_LEAST_ONE] = 5000
    l2: Annotated[float, POSITIVE] = 0.01

    def method(self, clean: LabelledImages, *, seed: int) -> Method:  # noqa: ARG002
        """Return plain training that ends with a new head."""
        samples = self.samples(clean)
        return Method(finish=lambda network: self.reweight(network, samples))

    def reweight(self, network: Network, samples: LabelledImages) -> None:
        """Replace the network's head by one that is fitted to the clean ``samples``."""
        features, labels = network.features(resident(samples, network.device)), torch.from_numpy(samples.labels).to(network.device)
        weights, bias = fitted_head(features, labels, num_classes=samples.num_classes, l2=self.l2).linear()
        with torch.no_grad():
            network.model.head.weight.copy_(weights)
            network.model.head.bias.copy_(bias)


@register("projected_fine_tuning")
@dataclass(frozen=True, kw_only=True)
class ProjectedFineTuning(CleanDataRecovery):
    """Training on the poisoned set as it is, then on clean images, by which the weights stay within a radius of what they were.

    It is the recovery attack of Wang et al., "Provably Unlearnable Data Examples" (NDSS 2025), with the settings of their code for CIFAR-10
    (NeuralSec/certified-data-learnability at 3f34839): SGD with a cosine that falls once an epoch, and the augmentation of the training.
    BatchNorm's statistics are no weights and follow the clean images. Only the last epoch is measured afterwards, as with ``dfr``.

    Args:
        clean_samples: as many as ``dfr`` takes; a fifth of the training set is published, which is 10,000 of CIFAR-10.
        radius: the largest L2 norm of what all weights together move by; 0.2 to 2 are published.
        epochs: over the clean images.
        batch_size: of the clean images.
        learning_rate: of the first epoch.
    """

    clean_samples: Annotated[int, AT_LEAST_ONE] = 5000
    radius: Annotated[float, POSITIVE] = 1.0
    epochs: Annotated[int, AT_LEAST_ONE] = 60
    batch_size: Annotated[int, AT_LEAST_ONE] = 128
    learning_rate: Annotated[float, POSITIVE] = 0.01

    def method(self, clean: LabelledImages, *, seed: int) -> Method:
        """Return plain training that ends with one on clean images."""
        samples = self.samples(clean)
        return Method(finish=lambda trainer: self.fine_tune(trainer, samples, seed=seed))

    def fine_tune(self, trainer: Trainer, samples: LabelledImages, *, seed: int) -> None:
        """Train the network of ``trainer`` on the clean ``samples``, within the radius."""
        tuning = Trainer(trainer.model, self._recipe(trainer.recipe), trainer.normalisation, trainer.device)
        _keep_within(self.radius, tuning)
        pixels, labels = resident(samples, tuning.device), torch.from_numpy(samples.labels).to(tuning.device)
        generator = torch_generator(seed, f"recovery/{self.name}")
        for _ in range(self.epochs):
            tuning.epoch(pixels, labels, generator, ignore)

    def _recipe(self, before: TrainingRecipe) -> TrainingRecipe:
        return TrainingRecipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            rate_changes="epoch",
            gradient_clip=5.0,
            precision=before.precision,
            augmentation=before.augmentation,
        )


def _keep_within(radius: float, trainer: Trainer) -> None:
    """After each step, move the weights back into the ball of that L2 radius around what they are now."""
    weights = list(trainer.model.parameters())
    centre = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def project(*_: object) -> None:
        moved = [weight - start for weight, start in zip(weights, centre, strict=True)]
        share = (radius / nn.utils.get_total_norm(moved)).clamp(max=1)  # no number for the host, which need not wait
        for weight, start, step in zip(weights, centre, moved, strict=True):
            weight.copy_(start + share * step)

    trainer.optimiser.register_step_post_hook(project)
