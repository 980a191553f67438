"""Deep feature reweighting: a new head on the fixed features of a checkpoint shows what the network has learned.

Kirichenko et al., "Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations" (ICLR 2023).
Sandoval-Segura et al., "What Can We Learn from Unlearnable Datasets?" (NeurIPS 2023), Section 4.2, apply it to every checkpoint of a
training on a poison, with 5,000 clean images. Three estimators:

- ``frozen``: the textbook one. Nothing of the network changes, so features are computed once.
- ``recalibrated``: the statistics of BatchNorm are estimated again on augmented views of the clean images first, whose features,
  computed once, the head is fitted to. It keeps the two things that the published procedure does beside fitting a head.
- ``reference``: the published procedure step by step. The whole network runs, in training mode and on augmented batches, in every
  closure of L-BFGS, so BatchNorm follows the clean images all the while.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, require_every_class
from unlearnable.metrics import accuracy
from unlearnable.probes.softmax import Values, fit_softmax
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, NOT_EMPTY, POSITIVE
from unlearnable.register import Register
from unlearnable.seeds import derive, numpy_generator, torch_generator
from unlearnable.training import (
    Augmentation,
    Checkpoint,
    Network,
    Normalisation,
    Progress,
    Report,
    TrainingRecipe,
    first_network,
    ignore,
    no_report,
    normalisation_of,
)
from unlearnable.training.augmentation import augment
from unlearnable.training.device import is_out_of_memory
from unlearnable.training.network import BATCH
from unlearnable.training.pixels import Pixels, as_float, resident

HEAD_ITERATIONS = 1000
REFERENCE_EPOCHS, REFERENCE_BATCH, REFERENCE_RATE = 15, 1024, 0.5  # dfr_step_2.py of the reference code
Row = dict[str, Any]
Count = Annotated[int, AT_LEAST_ONE]


@dataclass(frozen=True, kw_only=True)
class ReweightingRecipe:
    """Settings of deep feature reweighting.

    Args:
        clean_samples: how many clean training images the head is fitted to; a list gives a row for each.
        held_out: how many further clean training images choose an epoch; none of them is fitted to.
        sampling: the same number of each class (or one more), or a uniform draw.
        sample_seed: of that draw; not the cell's seed, so that cells share their clean images.
        sample_indices: a file (.npy) of indices into the whole training set, whose images are taken in that order instead; None draws.
        estimators: names of estimators.
        l2: of the head on standardised features: l2 / 2 times its squared weights is added to its mean cross-entropy.
        views: augmented views of each clean image, for ``recalibrated``.
        epochs: which checkpoints are probed, by epoch; None probes all. Epoch 0, the network before any step, is always probed.
    """

    clean_samples: Count | Annotated[list[Count], NOT_EMPTY] = 5000
    held_out: Count = 1000
    sampling: Literal["balanced", "uniform"] = "balanced"
    sample_seed: Annotated[int, NON_NEGATIVE] = 0
    sample_indices: str | None = None
    estimators: Annotated[list[str], NOT_EMPTY] = field(default_factory=lambda: ["frozen"])
    l2: Annotated[float, POSITIVE] = 0.01
    views: Count = 2
    epochs: Annotated[list[Count], NOT_EMPTY] | None = None

    @property
    def counts(self) -> list[int]:
        """The numbers of clean samples, each once, in order."""
        return sorted({self.clean_samples} if isinstance(self.clean_samples, int) else set(self.clean_samples))


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A network, and the images that it is probed with, on the device.

    Args:
        network: with the weights of the checkpoint; an estimator may change them.
        pixels, labels: clean training images to fit the head to.
        held_out: clean training images that no head is fitted to.
        test: the clean test images.
        augmentation: of the training.
        recipe: how.
        seed: decides the augmentation.
    """

    network: Network
    pixels: Pixels
    labels: Tensor
    held_out: Pixels
    test: Pixels
    augmentation: Augmentation
    recipe: ReweightingRecipe
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedHead:
    """A softmax regression on features that are standardised by the means and deviations of those that it was fitted to.

    Args:
        weights: float32 (K, width), for standardised features.
        bias: float32 (K,).
        mean: float32 (width,).
        deviation: float32 (width,), one where a feature is constant.
    """

    weights: Tensor
    bias: Tensor
    mean: Tensor
    deviation: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (n, K) of features (n, width) as they are."""
        return F.linear((features - self.mean) / self.deviation, self.weights, self.bias)

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return weights (K, width) and bias (K,), float32, of the same head for features as they are."""
        weights = self.weights.double() / self.deviation.double()
        return weights.float(), (self.bias.double() - weights @ self.mean.double()).float()


def fitted_head(features: Tensor, labels: Tensor, *, num_classes: int, l2: float) -> FittedHead:
    """Return the head that minimises the mean cross-entropy of ``features`` (n, width) with ``labels`` (n,), ``l2`` as in the recipe."""
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    values = Values(rows=(features - mean) / deviation, labels=labels, num_classes=num_classes)
    [(weights, bias)] = fit_softmax(values, iterations=HEAD_ITERATIONS, l2=l2, until_separated=False).layers
    return FittedHead(weights=weights, bias=bias, mean=mean, deviation=deviation)


Logits = tuple[Tensor, Tensor, Tensor]  # of the images fitted to, (n or views n, K), of the held-out and of the test images
Estimator = Callable[[Bench], Iterator[tuple[int, Logits]]]  # for each number of clean samples
ESTIMATORS: Register[Estimator] = Register("estimator")


@ESTIMATORS.add("frozen")
def frozen(bench: Bench) -> Iterator[tuple[int, Logits]]:
    """Fit a head to features that are computed once."""
    features, held_out, test = (bench.network.features(pixels) for pixels in (bench.pixels, bench.held_out, bench.test))
    for count in bench.recipe.counts:
        yield count, _with_head(bench, features[:count], bench.labels[:count], held_out, test)


@ESTIMATORS.add("recalibrated")
def recalibrated(bench: Bench) -> Iterator[tuple[int, Logits]]:
    """Estimate BatchNorm's statistics on augmented views of the clean samples, then fit a head to their features."""
    for count in bench.recipe.counts:
        generator = torch_generator(bench.seed, f"probe/recalibrated/{count}")
        views = torch.cat([_augmented(bench, bench.pixels[:count], generator) for _ in range(bench.recipe.views)])
        bench.network.recalibrate(views)
        features, held_out, test = (bench.network.features(pixels) for pixels in (views, bench.held_out, bench.test))
        yield count, _with_head(bench, features, bench.labels[:count].repeat(bench.recipe.views), held_out, test)


@ESTIMATORS.add("reference")
def reference(bench: Bench) -> Iterator[tuple[int, Logits]]:
    """Fit the checkpoint's own head by the published procedure."""
    state = {name: value.clone() for name, value in bench.network.model.state_dict().items()}
    for count in bench.recipe.counts:
        bench.network.model.load_state_dict(state)
        generator = torch_generator(bench.seed, f"probe/reference/{count}")
        head = bench.network.model.head
        # One optimiser for all batches: its memory of curvature is of other batches and of other augmentations.
        optimiser = torch.optim.LBFGS(head.parameters(), lr=REFERENCE_RATE)
        for _ in range(REFERENCE_EPOCHS):
            for batch in torch.randperm(count, generator=generator).to(bench.pixels.device).split(REFERENCE_BATCH):
                _reference_step(bench, optimiser, batch, generator)
        logits = tuple(bench.network.logits(pixels) for pixels in (bench.pixels[:count], bench.held_out, bench.test))
        yield count, logits  # type: ignore[misc]


def _reference_step(bench: Bench, optimiser: torch.optim.LBFGS, batch: Tensor, generator: torch.Generator) -> None:
    model, head = bench.network.model.train(), bench.network.model.head
    images = augment(as_float(bench.pixels[batch]), bench.augmentation, generator)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(bench.network.forward(images).float(), bench.labels[batch])
        gradients = torch.autograd.grad(loss, list(head.parameters()))
        for parameter, gradient in zip(head.parameters(), gradients, strict=True):
            parameter.grad = gradient
        return loss

    model.requires_grad_(requires_grad=False)
    head.requires_grad_()
    optimiser.step(closure)


def reweight(
    checkpoints: Sequence[Checkpoint],
    clean: LabelledImages,
    test: LabelledImages,
    *,
    model: str,
    training: TrainingRecipe,
    recipe: ReweightingRecipe,
    seed: int,
    device: torch.device,
    progress: Progress = ignore,
    report: Report = no_report,
    normalisation: Normalisation | None = None,
) -> list[Row]:
    """Apply every estimator to every checkpoint, and to the network before its first step (epoch 0, the control).

    Args:
        checkpoints: all of one training, the first epoch's first; each is read when its turn comes.
        clean: the clean training images.
        test: the clean test images.
        model: the registered model that was trained.
        training: the recipe that it was trained with.
        recipe: how.
        seed: that of the training, whose first weights are the control's.
        device: where.
        progress: called with checkpoints done and in all.
        report: called with each epoch and what was measured there.
        normalisation: of the training; None is by the channels of ``clean``.

    Returns:
        a row for each epoch, estimator and number of clean samples: ``epoch``, ``estimator``, ``clean_samples``, ``held_out_samples``,
        ``plain_accuracy`` of the network's own head on the test set, ``test_accuracy``, ``held_out_accuracy`` and
        ``train_accuracy`` of the new head, and ``seconds``. Accuracies are fractions.

    Raises:
        InputError: an estimator is unknown, there are too few clean images, a class has none among them, an epoch has no
            checkpoint, or a checkpoint is of another network.
    """
    estimators = {name: ESTIMATORS[name] for name in recipe.estimators}
    fitted, held_out = fitted_and_held_out(clean, recipe)
    normalisation = normalisation or normalisation_of(clean, training)
    network = first_network(model, clean, like=clean, recipe=training, normalisation=normalisation, seed=seed)
    bench = Bench(
        network=Network(network, normalisation, device, training.precision),
        pixels=resident(fitted, device),
        labels=torch.from_numpy(fitted.labels).to(device),
        held_out=resident(held_out, device),
        test=resident(test, device),
        augmentation=training.augmentation,
        recipe=recipe,
        seed=derive(seed, "probe"),
    )
    answers = _Answers(held_out=torch.from_numpy(held_out.labels).to(device), test=torch.from_numpy(test.labels).to(device))
    asked = _asked(checkpoints, recipe)
    rows: list[Row] = []
    for done, (epoch, state, plain) in enumerate(_states(bench, answers, (checkpoints[place] for place in asked))):
        progress(done, len(asked) + 1)
        found = []
        for name, estimator in estimators.items():
            restore(bench.network, state, epoch, model)
            found += [{"epoch": epoch, "estimator": name, "plain_accuracy": plain} | row for row in _rows(bench, estimator, answers)]
        rows += found
        report(epoch, _reported(found))
    progress(len(asked) + 1, len(asked) + 1)
    return rows


def fitted_and_held_out(clean: LabelledImages, recipe: ReweightingRecipe) -> tuple[LabelledImages, LabelledImages]:
    """Return the images that heads are fitted to, of which each count takes the first, and the held-out ones after them.

    Raises:
        InputError: there are too few, a class has none among those of a count, or ``sample_indices`` is no such file.
    """
    largest = max(recipe.counts)
    if largest + recipe.held_out > len(clean):
        left = f"at most {len(clean) - recipe.held_out:,}, as {recipe.held_out:,} of {len(clean):,} training images are held out"
        raise InputError(f"probe.clean_samples: expected {left}, got {largest:,}")
    order = _order(clean, recipe)
    fitted = clean.subset(order[:largest])
    for count in recipe.counts:
        try:
            require_every_class(fitted.subset(np.arange(count)))
        except InputError as error:
            raise InputError(f"probe.clean_samples: {error} among {count:,}") from None
    return fitted, clean.subset(order[largest : largest + recipe.held_out])


def _order(clean: LabelledImages, recipe: ReweightingRecipe) -> npt.NDArray[np.int64]:
    """Return all places in random order, those that a file names first; where it is balanced, the classes take turns while they last."""
    order = numpy_generator(recipe.sample_seed, "probe/clean_samples").permutation(len(clean))
    if recipe.sample_indices is not None:
        named = _named(clean, recipe.sample_indices)
        if len(named) < max(recipe.counts):
            expected = f"expected at least {max(recipe.counts):,} indices, as probe.clean_samples asks for, got {len(named):,}"
            raise InputError(f"probe.sample_indices ({recipe.sample_indices}): {expected}")
        named = named[: max(recipe.counts)]
        return np.concatenate([named, order[~np.isin(order, named)]])
    if recipe.sampling == "uniform":
        return order
    turns = np.empty(len(clean), dtype=np.int64)
    for label in range(clean.num_classes):
        members = clean.labels[order] == label
        turns[members] = np.arange(members.sum())
    return order[np.argsort(turns, kind="stable")]


def _named(clean: LabelledImages, path: str) -> npt.NDArray[np.int64]:
    """Return the places in ``clean`` of the images whose indices a file has, in its order."""
    try:
        indices = np.load(path, allow_pickle=False)  # numbers alone, no pickles  # noqa: TID251
    except (OSError, ValueError) as error:
        raise InputError(f"probe.sample_indices ({path}): expected a .npy file of whole numbers, got {error}") from None
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or len(np.unique(indices)) != len(indices):
        raise InputError(f"probe.sample_indices ({path}): expected different whole numbers in a row, got {indices.dtype} {indices.shape}")
    missing = indices[~np.isin(indices, clean.ids)]
    if len(missing):
        got = f"{missing[0]} and {len(missing) - 1} more that are none"
        raise InputError(f"probe.sample_indices ({path}): expected indices of training images, got {got}")
    by_id = np.argsort(clean.ids)
    places: npt.NDArray[np.int64] = by_id[np.searchsorted(clean.ids[by_id], indices)]
    return places


def _asked(checkpoints: Sequence[Checkpoint], recipe: ReweightingRecipe) -> list[int]:
    """Return the places of the checkpoints that are probed."""
    if recipe.epochs is None:
        return list(range(len(checkpoints)))
    if max(recipe.epochs) > len(checkpoints):
        raise InputError(f"probe.epochs: expected at most {len(checkpoints)}, the epochs of the training, got {max(recipe.epochs)}")
    return [epoch - 1 for epoch in sorted(set(recipe.epochs))]


def _states(bench: Bench, answers: "_Answers", checkpoints: Iterable[Checkpoint]) -> Iterator[tuple[int, dict[str, Tensor], float]]:
    """Yield epoch, weights and the test accuracy of the network's own head, before its first step and at each checkpoint."""
    before = {name: value.clone() for name, value in bench.network.model.state_dict().items()}
    yield 0, before, accuracy(bench.network.logits(bench.test), answers.test)
    for checkpoint in checkpoints:
        yield checkpoint.epoch, checkpoint.state, checkpoint.measured["test_accuracy"]


def restore(network: Network, state: dict[str, Tensor], epoch: int, name: str) -> None:
    """Give a network the weights of a checkpoint; raise InputError if they are those of another network than ``name``."""
    try:
        network.model.load_state_dict(state)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        first = " ".join(str(error).split("\n")[1:2]).strip().rstrip(".")
        raise InputError(f"checkpoint of epoch {epoch}: expected the weights of '{name}', got others: {first}") from None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """The labels of held-out and of test images."""

    held_out: Tensor
    test: Tensor


def _rows(bench: Bench, estimator: Estimator, answers: _Answers) -> Iterator[Row]:
    start = time.perf_counter()
    for count, (fitted, held_out, test) in estimator(bench):
        yield {
            "clean_samples": count,
            "held_out_samples": len(held_out),
            "train_accuracy": accuracy(fitted, bench.labels[:count].repeat(len(fitted) // count)),
            "held_out_accuracy": accuracy(held_out, answers.held_out),
            "test_accuracy": accuracy(test, answers.test),
            "seconds": time.perf_counter() - start,
        }
        start = time.perf_counter()


def _reported(rows: list[Row]) -> dict[str, float]:
    """Return what was measured at a checkpoint, each number under a name of its own."""
    named = {
        f"{row['estimator']}.{row['clean_samples']}.{name}": float(row[name])
        for row in rows
        for name in ("test_accuracy", "held_out_accuracy")
    }
    return {"plain_accuracy": float(rows[0]["plain_accuracy"]), **named}


def _with_head(bench: Bench, features: Tensor, labels: Tensor, held_out: Tensor, test: Tensor) -> Logits:
    """Return the logits of a head that is fitted to ``features`` (n, width)."""
    head = fitted_head(features, labels, num_classes=bench.network.model.head.out_features, l2=bench.recipe.l2)
    return head.logits(features), head.logits(held_out), head.logits(test)


def _augmented(bench: Bench, pixels: Pixels, generator: torch.Generator) -> Tensor:
    """Return one augmented view (n, C, H, W), float32, of each image."""
    return torch.cat([augment(as_float(part), bench.augmentation, generator) for part in pixels.split(BATCH)])
