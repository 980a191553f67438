"""Linear separability of perturbations: Sandoval-Segura et al., "What Can We Learn from Unlearnable Datasets?" (2023), Section 4.3.

The paper fits softmax regression with bias to perturbations scaled to [0, 1] by their least and largest value, and gives the
training accuracy. That fit (``linear``) is far from its minimum when it stops, so an accuracy below 100 % proves nothing;
``linear_converged`` is the same problem solved to the end.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.probes.filters import detected, estimated_filters
from unlearnable.probes.softmax import SEPARATED, Values, fit_softmax
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, Range
from unlearnable.seeds import torch_generator
from unlearnable.training import Progress, ignore

WIDTH = 30  # of the paper's tanh networks
RANK_ENERGY = 0.99
COMPARED = 1000  # images, to see whether two sets are in one order
STRANGE = 0.75  # of what two images differ by: images of one class differ by more, perturbations change less
SUMMED_AT_ONCE = 512  # images subtracted, or added up
Part = tuple[Tensor, Tensor]  # rows (n, D) and labels (n,)


@dataclass(frozen=True, kw_only=True)
class SeparabilityRecipe:
    """Settings of the separability probe.

    Args:
        held_out: the fraction of images that nothing is fitted to; 0 fits all, as the paper does.
        iterations: of L-BFGS at most, for each model.
        linear_iterations: of ``linear`` alone; None is as for the others (published: 10,000, 500 steps of 20).
        tolerance: the largest gradient at which it has converged.
        split_seed: of the split and of the networks' first weights; not the cell's seed, so that poisons are compared alike.
    """

    held_out: Annotated[float, Range(ge=0, lt=1)] = 0.2
    iterations: Annotated[int, AT_LEAST_ONE] = 100
    linear_iterations: Annotated[int | None, AT_LEAST_ONE] = None
    tolerance: Annotated[float, POSITIVE] = 1e-4
    split_seed: Annotated[int, NON_NEGATIVE] = 0


class Separator(NamedTuple):
    """A model to fit: its hidden layers, and whether values are centred and whitened first."""

    hidden: tuple[int, ...] = ()
    centred: bool = True
    whitened: bool = False


SEPARATORS = {
    "linear": Separator(centred=False),
    "linear_converged": Separator(whitened=True),
    "tanh_1": Separator((WIDTH,)),
    "tanh_2": Separator((WIDTH, WIDTH)),
}


def perturbations(clean: LabelledImages, poisoned: LabelledImages) -> Tensor:
    """Return poisoned less clean images (N, C, H, W) in levels of 1/255: int8 where they fit, else int16.

    Raises:
        InputError: a poisoned image has no clean one of its id, or another label, or the two sets are in different orders.
    """
    clean = clean.matching(poisoned)
    wrong = (clean.labels != poisoned.labels).nonzero()[0]
    if len(wrong):
        at, those = int(wrong[0]), f"and of {len(wrong) - 1} more" if len(wrong) > 1 else "alone"
        expected = f"expected the labels of the clean images, got {poisoned.labels[at]} for {clean.labels[at]}"
        raise InputError(f"perturbations: {expected} at place {at} {those}: are both sets in one order?")
    _require_one_order(clean, poisoned)
    small = all(int(part.min()) >= -128 and int(part.max()) <= 127 for part in _differences(clean, poisoned))
    return torch.cat([part.to(torch.int8 if small else torch.int16) for part in _differences(clean, poisoned)])


def _require_one_order(clean: LabelledImages, poisoned: LabelledImages) -> None:
    """Raise InputError if poisoned images are hardly nearer to their own clean images than to the next ones."""
    some = np.linspace(0, len(clean) - 1, min(len(clean), COMPARED)).astype(int)
    before, after = (images.images[some].astype(np.int16) for images in (clean, poisoned))
    own, others = (float(np.abs(after - compared).mean()) for compared in (before, np.roll(before, 1, axis=0)))
    if own > STRANGE * others:
        expected = "expected poisoned images in the order of the clean ones, got some that differ from theirs"
        raise InputError(f"perturbations: {expected} by {own:.1f} levels on average, and from others by {others:.1f}")


def _differences(clean: LabelledImages, poisoned: LabelledImages) -> Iterator[Tensor]:
    pairs = zip(*(torch.from_numpy(images.images).split(SUMMED_AT_ONCE) for images in (clean, poisoned)), strict=True)
    return (after.short() - before for before, after in pairs)


def separability(
    images: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    recipe: SeparabilityRecipe,
    device: torch.device,
    progress: Progress = ignore,
) -> dict[str, Any]:
    """Return how well each model tells the classes of perturbations (or of images) apart.

    Args:
        images: (N, C, H, W), uint8, int8 or int16.
        labels: int64 (N,).
        num_classes: the number of classes.
        recipe: how.
        device: where.
        progress: called with iterations done and in all.

    Returns:
        ``images``; ``models``, for each of SEPARATORS train_accuracy, held_out_accuracy (None where nothing is held out), ended,
        iterations, ``curve``, the training accuracy after each iteration, and seconds; ``class_means`` as ``class_means`` gives them;
        ``filters``, the two accuracies of the autoregressive detector.
    """
    images, labels = images.to(device), labels.to(device)
    fitted, held_out = _split(images, labels, recipe)
    shifts, scale = _scaling(images)
    found: dict[str, Any] = {}
    for place, (name, model) in enumerate(SEPARATORS.items()):
        if name == "linear_converged" and found["linear"]["ended"] == SEPARATED:
            found[name] = found["linear"] | {"seconds": 0.0}  # the same problem, which has no minimum
            continue
        shift = shifts[model.centred]
        parts = [Values(rows=rows, labels=known, num_classes=num_classes, shift=shift, scale=scale) for rows, known in (fitted, held_out)]
        own = replace(recipe, iterations=recipe.linear_iterations or recipe.iterations) if name == "linear" else recipe
        found[name] = _fitted(model, parts[0], parts[1], own, _counted(progress, place, recipe.iterations))
    return {
        "images": len(images),
        "models": found,
        "class_means": class_means(images, labels, num_classes),
        "filters": _detector(images.shape[1:], fitted, held_out, num_classes),
    }


def class_means(images: Tensor, labels: Tensor, num_classes: int) -> dict[str, float]:
    """Return how much of ``images`` (N, C, H, W) is in the means of their classes.

    Returns:
        ``energy``, the share of the squared norm that remains if each image is replaced by the mean of its class (chance,
        for noise that knows no class, is num_classes / N); ``rank``, the number of directions that hold 99 % of that.
    """
    sums = torch.zeros(num_classes, images[0].numel(), dtype=torch.float64, device=images.device)
    total = 0.0
    for part, classes in zip(images.flatten(1).split(SUMMED_AT_ONCE), labels.split(SUMMED_AT_ONCE), strict=True):
        values = part.double()
        sums.index_add_(0, classes, values)
        total += float(values.square().sum())
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1).double()
    spectrum = torch.linalg.svdvals(sums / counts.sqrt()[:, None]).square()
    energy = float(spectrum.sum())
    if not energy:
        return {"energy": 0.0, "rank": 0}
    rank = int((spectrum.cumsum(0) < RANK_ENERGY * energy).sum()) + 1
    return {"energy": energy / total, "rank": rank}


def _split(images: Tensor, labels: Tensor, recipe: SeparabilityRecipe) -> tuple[Part, Part]:
    """Return rows (n, D) and labels (n,) of fitted and of held-out images; where none is held out, the first is no copy."""
    order = torch.randperm(len(images), generator=torch_generator(recipe.split_seed, "probe/separability"))
    held_out, fitted = (places.sort().values.to(images.device) for places in order.tensor_split([int(recipe.held_out * len(images))]))
    rows = images.flatten(1)
    whole = (rows, labels) if not len(held_out) else (rows[fitted], labels[fitted])
    return whole, (rows[held_out], labels[held_out])


def _scaling(images: Tensor) -> tuple[tuple[float, float], float]:
    """Return the shifts that put the least value, or the mean, at 0, and the scale that makes the range 1.

    The paper scales to [0, 1]; around the mean, which a bias makes the same model, a solver needs fewer iterations.
    """
    low, high = float(images.min()), float(images.max())
    mean = sum(float(part.sum()) for part in images.split(SUMMED_AT_ONCE)) / images.numel()
    return (low, mean), 1 / max(high - low, 1.0)


def _counted(progress: Progress, place: int, steps: int) -> Progress:
    """Return the progress of one model; all models have the same share, whatever their iterations."""
    return lambda done, total: progress(place * steps + done * steps // total, len(SEPARATORS) * steps)


def _fitted(model: Separator, fitted: Values, held_out: Values, recipe: SeparabilityRecipe, progress: Progress) -> dict[str, Any]:
    start = time.perf_counter()
    fit = fit_softmax(
        fitted,
        hidden=model.hidden,
        whitened=model.whitened,
        iterations=recipe.iterations,
        tolerance=recipe.tolerance,
        seed=recipe.split_seed,
        progress=progress,
    )
    return {
        "train_accuracy": fit.accuracy(fitted),
        "held_out_accuracy": fit.accuracy(held_out) if len(held_out.rows) else None,
        "ended": fit.ended,
        "iterations": len(fit.losses),
        "curve": fit.accuracies,
        "seconds": time.perf_counter() - start,
    }


def _detector(shape: torch.Size, fitted: Part, held_out: Part, num_classes: int) -> dict[str, float | None]:
    rows, labels = fitted
    filters = estimated_filters(rows.unflatten(1, shape), labels, num_classes)

    def accuracy(rows: Tensor, labels: Tensor) -> float | None:
        return float((detected(rows.unflatten(1, shape), filters) == labels).double().mean()) if len(rows) else None

    return {"train_accuracy": accuracy(*fitted), "held_out_accuracy": accuracy(*held_out)}
