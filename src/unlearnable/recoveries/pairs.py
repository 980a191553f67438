"""A recovery for who holds the originals of some protected images: what was done to these is undone on all.

Such pairs exist where a protector may be asked to protect images of one's own: Wang et al., "BridgePure: Limited Protection Leakage Can
Break Black-Box Data Protection" (NeurIPS 2025). That paper learns a diffusion bridge from them; a mean or a linear map takes seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.metrics import mean_perturbations
from unlearnable.ranges import AT_LEAST_ONE, POSITIVE
from unlearnable.recoveries.base import Needs, each_changed_by_label, register
from unlearnable.recoveries.clean_data import CleanDataRecovery

Estimate = Callable[[Tensor, Tensor], Tensor]  # protected images (n, C, H, W) in units of [0, 1], labels (n,) -> their perturbations


@register("pairs")
@dataclass(frozen=True, kw_only=True)
class Pairs(CleanDataRecovery):
    """The perturbation is learned from pairs of an original and its protected copy, and taken off every protected image.

    The originals serve for nothing else: no network is trained on them, so that what is gained is gained by undoing.

    Args:
        clean_samples: how many pairs, as many of each class as of any other within one.
        fit: ``class_means``, the mean perturbation of each class, taken off by the labels; or ``linear_map``, the same linear function of
            the protected image for all classes, fitted by ridge regression.
        l2: of ``linear_map``: l2 times the map's squared weights is added to the mean squared error of a pair, in units of [0, 1]. As it
            grows, the mean perturbation of all pairs is taken off.
    """

    clean_samples: Annotated[int, AT_LEAST_ONE] = 500
    fit: Literal["class_means", "linear_map"] = "class_means"
    l2: Annotated[float, POSITIVE] = 0.01

    @property
    def needs(self) -> Needs:
        """The originals, a look at every image, and labels for the means of classes."""
        return Needs(clean_samples=self.clean_samples, labels_before=self.fit == "class_means", once=True)

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device) -> LabelledImages:  # noqa: ARG002
        """Raise InputError: without originals there is no pair."""
        raise InputError(f"clean: expected the originals of {self.clean_samples} images, got none")

    def recovered_beside(
        self,
        poisoned: LabelledImages,
        clean: LabelledImages,
        *,
        seed: int,  # noqa: ARG002
        device: torch.device,
    ) -> LabelledImages:
        """Return the protected set less its estimated perturbations; the pairs are drawn from the images that both sets have."""
        originals = self.samples(clean.matching(poisoned))
        estimate = self.estimate(originals, poisoned.matching(originals), device)
        return each_changed_by_label(poisoned, lambda images, labels: images - estimate(images, labels), device)

    def estimate(self, originals: LabelledImages, protected: LabelledImages, device: torch.device) -> Estimate:
        """Return what estimates perturbations, fitted to pairs."""
        if self.fit == "linear_map":
            return linear_map(originals, protected, self.l2, device)
        means = torch.from_numpy(mean_perturbations(originals, protected)).to(device)
        return lambda images, labels: means[labels]  # noqa: ARG005


def linear_map(originals: LabelledImages, protected: LabelledImages, l2: float, device: torch.device) -> Estimate:
    """Return the linear function of protected images that estimates their perturbations, by ridge regression on k pairs.

    It is fitted in the form that has a weight for each pair (Saunders et al., "Ridge Regression Learning Algorithm in Dual Variables",
    1998): its cost grows with the pixels of an image, not with their square. All in double precision, as small ``l2`` needs it.
    """
    before, after = (torch.from_numpy(each.images.astype(np.float64) / 255).flatten(1).to(device) for each in (originals, protected))
    mean, mean_change = after.mean(0), (after - before).mean(0)
    centred = after - mean
    gram = centred @ centred.T + len(centred) * l2 * torch.eye(len(centred), dtype=torch.float64, device=device)
    weights = torch.linalg.solve(gram, after - before - mean_change)  # (k, pixels)

    def estimate(images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
        changes: Tensor = (images.double().flatten(1) - mean) @ centred.T @ weights + mean_change
        return changes.view(images.shape)

    return estimate
