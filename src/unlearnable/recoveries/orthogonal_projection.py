"""Orthogonal Projection: Sandoval-Segura et al., "What Can We Learn from Unlearnable Datasets?" (NeurIPS 2023), Algorithm 1.

Fit a linear softmax model on the poisoned images, take the QR decomposition of its weights, remove their span. The
published fit is short, and a better converged one removes less of a class-wise perturbation. So its recipe (twenty epochs
of plain SGD on raw pixels, batches in the order of the set) is the default. It removes as many directions as there are
classes; fewer or more are an ablation of ours.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.errors import DivergedError, InputError
from unlearnable.images import LabelledImages, Projection
from unlearnable.metrics import accuracy
from unlearnable.ranges import AT_LEAST_ONE, POSITIVE
from unlearnable.recoveries.base import Needs, Recovery, register
from unlearnable.seeds import torch_generator
from unlearnable.training.pixels import FLOATS_AT_ONCE, Pixels, as_float, resident


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearWeights:
    """The linear models that are fitted to the poisoned set.

    Args:
        weights: float32 (M, K, D), a row for each class of each model: the first is fitted to the images, each further one
            to the images without the directions of the models before it.
        centre: float32 (D,), subtracted from the images; zeros in the published fit.
        train_accuracy: of the first model on the set that it was fitted to, a fraction.
        seconds: that the fit took.
    """

    weights: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float32]
    train_accuracy: float
    seconds: float = 0.0


View = Callable[[Tensor], Tensor]  # of pixels (n, D): float32 (n, D), as a linear model sees them


@register("orthogonal_projection")
@dataclass(frozen=True, kw_only=True)
class OrthogonalProjection(Recovery):
    """Fit a linear model to the poisoned set, and remove the span of its weights from the images.

    Args:
        centred: fit on the images less their mean, and keep that mean when projecting; the published fit is on raw
            pixels, and then the mean brightness is among the directions removed.
        epochs: passes over the set.
        learning_rate: of plain SGD, divided by ten at each of ``milestones``.
        batch_size: images in a step.
        milestones: epochs; the published 10 and 15 where None.
        shuffle: a new random order each epoch; the published fit takes the set's own.
        project_test: remove the same from the test images; the published recipe leaves them as they are.
        directions: how many are removed; None removes all that the weights span, as published. Fewer means those in which the weights, each
            row scaled to length one, agree most. For more, another model is fitted to the images without the directions found so far.
    """

    centred: bool = False
    epochs: Annotated[int, AT_LEAST_ONE] = 20
    learning_rate: Annotated[float, POSITIVE] = 0.1
    batch_size: Annotated[int, AT_LEAST_ONE] = 1024
    milestones: list[int] | None = None
    shuffle: bool = False
    project_test: bool = False
    directions: Annotated[int, AT_LEAST_ONE] | None = None

    @property
    def needs(self) -> Needs:
        """Labels, and a pass of each linear model for every epoch of its fit."""
        return Needs(labels_before=True, once=True)

    def require(self, clean: LabelledImages) -> None:
        """Raise InputError if more directions are to be removed than an image has numbers."""
        size = clean.images[0].size
        if (self.directions or 0) > size:
            asked = f"expected at most {size}, the numbers of an image, got {self.directions}"
            raise InputError(f"recover.orthogonal_projection.directions: {asked}")

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device) -> LabelledImages:
        """Return the set with the span of a linear model's weights projected out."""
        return replace(poisoned, projection=self.directions_of(self.fit(poisoned, seed=seed, device=device)))

    def test(self, test: LabelledImages, recovered: LabelledImages) -> LabelledImages:
        """Return the test images, projected if ``project_test`` is set."""
        return replace(test, projection=recovered.projection) if self.project_test else test

    def fit(self, poisoned: LabelledImages, *, seed: int, device: torch.device) -> LinearWeights:
        """Return the linear model fitted on ``poisoned``, and as many more as ``directions`` needs (lines 1 to 4).

        Raises:
            InputError: there are more directions than an image has numbers, or a fit diverged.
        """
        start = time.perf_counter()
        pixels, labels = resident(poisoned, device).flatten(1), torch.from_numpy(poisoned.labels).to(device)
        self.require(poisoned)
        generator = torch_generator(seed, "recovery/orthogonal_projection")
        centre = _mean_image(pixels) if self.centred else torch.zeros(pixels.shape[1], device=device)

        def fitted(view: View) -> Tensor:
            first = _first_weights(poisoned.num_classes, pixels.shape[1], generator).to(device)
            return self._descended(first, pixels, labels, view, generator)

        def centred(rows: Tensor) -> Tensor:
            return as_float(rows) - centre

        models = [fitted(centred)]
        while self.directions is not None and (basis := leading_directions(models, self.directions)).shape[1] < self.directions:
            models.append(fitted(_seen_without(centred, basis.float())))
        logits = torch.cat([centred(chunk) @ models[0].T for chunk in pixels.split(FLOATS_AT_ONCE)])
        return LinearWeights(
            weights=torch.stack(models).cpu().numpy(),
            centre=centre.cpu().numpy(),
            train_accuracy=accuracy(logits, labels),
            seconds=time.perf_counter() - start,
        )

    def directions_of(self, linear: LinearWeights) -> Projection:
        """Return the projection that removes the span of the weights, or as many directions as the settings say (line 5)."""
        start = time.perf_counter()
        models = list(torch.from_numpy(linear.weights))
        basis = orthonormal_basis(models[0]) if self.directions is None else leading_directions(models, self.directions).float()
        seconds = linear.seconds + time.perf_counter() - start
        return Projection(basis=basis.numpy(), centre=linear.centre, seconds=seconds)

    def _descended(self, weights: Tensor, pixels: Pixels, labels: Tensor, view: View, generator: torch.Generator) -> Tensor:
        """Return ``weights`` (K, D) after all epochs."""
        drops = (10, 15) if self.milestones is None else self.milestones
        for epoch in range(self.epochs):
            rate = self.learning_rate * 0.1 ** sum(epoch >= drop for drop in drops)
            order = torch.randperm(len(pixels), generator=generator) if self.shuffle else torch.arange(len(pixels))
            for batch in order.to(pixels.device).split(self.batch_size):
                _step(weights, view(pixels[batch]), labels[batch], rate)
        return weights


def leading_directions(models: Sequence[Tensor], count: int) -> Tensor:
    """Return at most ``count`` orthonormal columns (D, R), float64: the leading ones of the first model, and then of each further one.

    Args:
        models: weights (K, D), each fitted to images without the directions of those before it.
        count: at most D.
    """
    basis = _leading(models[0].double(), count)
    for weights in models[1:]:
        # No image has moved them along the directions found, but their first weights lie partly there.
        basis = torch.cat([basis, _leading(_without(weights.double(), basis), count - basis.shape[1])], dim=1)
    return basis


def _leading(weights: Tensor, count: int) -> Tensor:
    """Return at most ``count`` orthonormal columns (D, R): the leading left singular vectors of the rows at length one."""
    if not weights.isfinite().all():
        raise DivergedError(
            "linear model: expected finite weights, got others: a lower recover.orthogonal_projection.learning_rate may help"
        )
    vectors, values, _ = torch.linalg.svd(F.normalize(weights, dim=1).T, full_matrices=False)
    leading: Tensor = vectors[:, values > 1e-6][:, :count]
    return leading


def _seen_without(view: View, basis: Tensor) -> View:
    return lambda rows: _without(view(rows), basis)


def _without(rows: Tensor, basis: Tensor) -> Tensor:
    return rows - (rows @ basis) @ basis.T


def orthonormal_basis(weights: Tensor) -> Tensor:
    """Return orthonormal columns (D, R) that span the rows of ``weights`` (K, D); R is their rank (Algorithm 1, line 5)."""
    unit = F.normalize(weights.double(), dim=1)
    basis: Tensor
    basis, triangle = torch.linalg.qr(unit.T)
    independent = triangle.diagonal().abs() > 1e-6  # rows of length one: below this a row adds no direction of its own
    return basis[:, independent].float()


def _mean_image(pixels: Pixels) -> Tensor:
    total: Tensor = torch.stack([as_float(chunk).sum(0, dtype=torch.float64) for chunk in pixels.split(FLOATS_AT_ONCE)]).sum(0)
    return (total / len(pixels)).float()


def _first_weights(classes: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw weights (classes, size) as torch.nn.Linear does: uniform within one over the square root of ``size``."""
    uniform = torch.rand(classes, size, generator=generator) * 2 - 1
    return uniform.div(size**0.5)


def _step(weights: Tensor, images: Tensor, labels: Tensor, rate: float) -> None:
    """Take one step of gradient descent on the softmax cross-entropy, in place."""
    error = F.softmax(images @ weights.T, dim=1)
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    weights.addmm_(error.T, images, alpha=-rate / len(labels))
