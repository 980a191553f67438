"""Recoveries that need some clean images."""

from dataclasses import dataclass
from typing import Annotated

import torch

from unlearnable.images import LabelledImages
from unlearnable.probes import fitted_head
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE
from unlearnable.recoveries.base import Needs, Recovery, balanced_samples, register
from unlearnable.training import Method, Network
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
