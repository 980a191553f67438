"""Ablations of Orthogonal Projection: the directions come from the images' own statistics, not from a fitted model."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch

from unlearnable.images import LabelledImages, Projection
from unlearnable.ranges import AT_LEAST_ONE
from unlearnable.recoveries.base import Needs, Recovery, register
from unlearnable.recoveries.orthogonal_projection import orthonormal_basis


@register("class_mean_projection")
@dataclass(frozen=True, kw_only=True)
class ClassMeanProjection(Recovery):
    """Remove the span of the class means.

    Args:
        centred: take the means less the mean of all images, and keep that mean when projecting.
    """

    centred: bool = False

    @property
    def needs(self) -> Needs:
        """Labels, and a look at every image."""
        return Needs(labels_before=True, once=True)

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device) -> LabelledImages:  # noqa: ARG002
        """Return the set with the span of the class means projected out."""
        flat = _flat(poisoned)
        means = np.stack([flat[poisoned.labels == label].mean(0, dtype=np.float64) for label in range(poisoned.num_classes)])
        # In float64: rounding would add a direction to centred means.
        centre = flat.mean(0, dtype=np.float64) if self.centred else np.zeros(flat.shape[1])
        return _removed(poisoned, means - centre, centre)


@register("pca_removal")
@dataclass(frozen=True, kw_only=True)
class PcaRemoval(Recovery):
    """Remove the first principal components of the poisoned set, and keep its mean.

    Args:
        components: how many; None takes as many as there are classes.
    """

    components: Annotated[int, AT_LEAST_ONE] | None = None

    @property
    def needs(self) -> Needs:
        """A look at every image."""
        return Needs(once=True)

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device) -> LabelledImages:  # noqa: ARG002
        """Return the set without the first components."""
        flat = _flat(poisoned)
        mean = flat.mean(0)
        flat -= mean
        _, vectors = torch.linalg.eigh(torch.from_numpy(flat.T @ flat).to(device).double())
        count = self.components or poisoned.num_classes
        return _removed(poisoned, vectors.flip(1)[:, :count].T.cpu().numpy(), mean)


def _flat(images: LabelledImages) -> npt.NDArray[np.float32]:
    return images.images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _removed(images: LabelledImages, directions: npt.NDArray[np.floating], centre: npt.NDArray[np.floating]) -> LabelledImages:
    """Return the images, seen through the projection that removes what ``directions`` (K, D) span and keeps ``centre`` (D,)."""
    basis = orthonormal_basis(torch.from_numpy(directions)).numpy()
    return replace(images, projection=Projection(basis=basis, centre=centre.astype(np.float32)))
