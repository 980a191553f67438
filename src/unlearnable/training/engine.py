"""One training loop for every network, image set and recipe."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from unlearnable.errors import DivergedError, InputError
from unlearnable.images import LabelledImages, channel_statistics
from unlearnable.metrics import accuracy
from unlearnable.models import ALL_BUT_HEAD, ImageClassifier, build
from unlearnable.models.whitening import Whitening
from unlearnable.seeds import torch_generator
from unlearnable.training.checkpoint import Checkpoint, carried_on
from unlearnable.training.device import choose_device, made_on, on_host
from unlearnable.training.network import BATCH, Network, Normalisation
from unlearnable.training.pixels import as_float, seen
from unlearnable.training.recipe import TrainingRecipe
from unlearnable.training.simclr import Pretraining
from unlearnable.training.trainer import PLAIN, Method, Progress, Trainer, ignore

WHITENED = 1_000  # images whose patches decide a whitening: of CIFAR-10, 961,000 patches for 78 different numbers
Report = Callable[[int, dict[str, float]], None]


def no_report(number: int, measured: dict[str, float]) -> None:
    """Report a round, or an epoch, to nobody."""


def fit(
    model: ImageClassifier,
    train: LabelledImages,
    test: LabelledImages,
    *,
    recipe: TrainingRecipe,
    normalisation: Normalisation,
    seed: int,
    device: torch.device,
    progress: Progress = ignore,
    done: Sequence[Checkpoint] = (),
    method: Method = PLAIN,
    resumable: bool = True,
) -> Iterator[Checkpoint]:
    """Train ``model`` and yield a checkpoint after every epoch, those of a pretraining first where the recipe has one.

    A pretraining leaves the head as it was drawn, so the accuracies of its epochs are those of chance.

    If an earlier training was interrupted, its checkpoints ``done`` are yielded first. The training resumes from the last of
    them, to the same losses and weights as if it had never stopped.

    The same seed draws the same order and the same augmentation whatever the images are, so that trainings on clean,
    poisoned and recovered sets differ by their images alone.

    Args:
        model: trained in place, moved to ``device``.
        train: what it is trained on, resident on the device.
        test: what its accuracy is measured on after every epoch.
        recipe: how.
        normalisation: mean and standard deviation of each channel, in units of [0, 1].
        seed: decides order and augmentation.
        device: where.
        progress: called with steps done and steps in all, of a pretraining and then of the rest.
        done: checkpoints of the same recipe, the last with what resuming needs.
        method: how the training differs from plain training.
        resumable: checkpoints hold what resuming needs, which is as large as the network.

    Raises:
        DivergedError: the loss or a weight is no longer finite; it names the step, and no checkpoint is yielded after it.
    """
    network = Network(model, normalisation, device, recipe.precision)
    pixels, labels = seen(train, device), torch.from_numpy(train.labels).to(device)
    test_pixels, test_labels = seen(test, device), torch.from_numpy(test.labels).to(device)
    yield from done
    last = done[-1] if done else None  # which may be read from the disk
    history: list[dict[str, float]] = list(last.history) if last else []
    here = made_on(device, recipe.precision)
    if last:
        here = carried_on(last.made_on, here)
        model.load_state_dict(last.state)
    for part in _parts(model, recipe, normalisation, seed=seed, device=device, method=method):
        if len(history) >= part.last:
            continue
        run, generator = part.begin(), torch_generator(seed, part.name)
        if last and len(history) >= part.first:
            run.resume(last, generator)
        for epoch in range(len(history) + 1, part.last + 1):
            start = time.perf_counter()
            with _in_epoch(epoch, recipe.all_epochs, part.rate):
                loss = run.epoch(pixels, labels, generator, progress)
                if epoch == recipe.all_epochs:
                    method.finish(run)
            seconds = time.perf_counter() - start
            measured: dict[str, float] = {
                "loss": loss,
                "test_accuracy": accuracy(network.logits(test_pixels), test_labels),
                "learning_rate": run.learning_rate,
                "images_per_second": len(train) / seconds,
                "seconds": seconds,
                "threads": torch.get_num_threads(),  # losses differ between thread counts from the second step on
            }
            if method.held_out is not None:
                measured["held_out_accuracy"] = _accuracy(network, method.held_out)
            history.append(measured)
            training = run.training(generator) if resumable and epoch < recipe.all_epochs else {}
            state = _finite(model, epoch)
            yield Checkpoint(epoch=epoch, epochs=recipe.all_epochs, state=state, history=list(history), training=training, made_on=here)


@contextmanager
def _in_epoch(epoch: int, epochs: int, rate: str) -> Iterator[None]:
    """Have a DivergedError of the block say in which epoch it was, and that a lower ``rate`` may help."""
    try:
        yield
    except DivergedError as error:
        where = f"in epoch {epoch} of {epochs}; checkpoints before it are kept"
        raise DivergedError(f"{error}, {where}: a lower {rate} may help") from None


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some epochs of a training that have one trainer.

    Args:
        name: of what the generator of the order and the augmentation is for.
        first: its first epoch, from 1.
        last: its last epoch.
        rate: the parameter that is its learning rate.
        begin: returns its trainer, once the part before it has ended.
    """

    name: str
    first: int
    last: int
    rate: str
    begin: Callable[[], Trainer]


def _parts(
    model: ImageClassifier, recipe: TrainingRecipe, normalisation: Normalisation, *, seed: int, device: torch.device, method: Method
) -> Iterator[_Part]:
    """Yield the pretraining of the features, where the recipe has one, and the training of the classifier."""
    before, own = recipe.pretraining_epochs, recipe
    if before:
        begin = partial(Pretraining, model, recipe, normalisation, device, seed=seed)
        yield _Part(name="pretrain", first=1, last=before, rate="train.simclr.learning_rate", begin=begin)
        own = replace(recipe, freeze=ALL_BUT_HEAD if recipe.freeze is None else recipe.freeze)
    begin_own = partial(Trainer, model, own, normalisation, device, method=method)
    yield _Part(name="train", first=before + 1, last=recipe.all_epochs, rate="train.learning_rate", begin=begin_own)


def fit_named(
    name: str,
    train: LabelledImages,
    test: LabelledImages,
    *,
    like: LabelledImages,
    recipe: TrainingRecipe,
    seed: int,
    device: str,
    progress: Progress = ignore,
    done: Sequence[Checkpoint] = (),
    method: Method = PLAIN,
    resumable: bool = True,
) -> Iterator[Checkpoint]:
    """Train a new model of that name, as ``fit`` does, normalising by the channels of ``like``.

    Raises:
        InputError: the model is unknown, the device is missing, a batch is larger than the set, or the training diverges.
    """
    require_batch(recipe, train)
    normalisation = normalisation_of(like, recipe)
    model = first_network(name, train, like=like, recipe=recipe, normalisation=normalisation, seed=seed)
    yield from fit(
        model,
        train,
        test,
        recipe=recipe,
        normalisation=normalisation,
        seed=seed,
        device=choose_device(device),
        progress=progress,
        done=done,
        method=method,
        resumable=resumable,
    )


def first_network(
    name: str, images: LabelledImages, *, like: LabelledImages, recipe: TrainingRecipe, normalisation: Normalisation, seed: int
) -> ImageClassifier:
    """Return the network that a training on ``images`` starts from.

    Args:
        name: of the model.
        images: whose shape and classes the network has.
        like: the images that a whitening is fitted to; one in the recipe's weights stays, as the layers after it were trained with it.
        recipe: of the training.
        normalisation: mean and standard deviation of each channel, in units of [0, 1].
        seed: of what is drawn.

    Raises:
        InputError: the model is unknown, it cannot take such images, or the recipe's weights are of another one.
    """
    classes, start = images.num_classes, recipe.weights
    model = build(name, shape=images.shape, num_classes=classes, seed=seed, initialisation=recipe.initialisation, weights=start)
    if start is None:
        whiten(model, like, normalisation)
    return model


def whiten(model: nn.Module, images: LabelledImages, normalisation: Normalisation) -> None:
    """Fit the model's whitening, if it has one, to normalised images: to as many as are enough, evenly spaced.

    As with the normalisation, the images are the clean ones whatever is trained on. By a grey training set, in which colours do not vary,
    the filters of colour are so large that colour test images excite them 15 times as much as those they were meant for.
    """
    for part in (part for part in model.modules() if isinstance(part, Whitening)):
        mean, deviation = (torch.as_tensor(np.asarray(each), dtype=torch.float32).view(-1, 1, 1) for each in normalisation)
        places = np.linspace(0, len(images) - 1, min(len(images), WHITENED)).astype(np.int64)
        batches = (as_float(torch.from_numpy(images.images[some])) for some in np.array_split(places, math.ceil(len(places) / BATCH)))
        part.fit((batch - mean) / deviation for batch in batches)


def normalisation_of(images: LabelledImages, recipe: TrainingRecipe) -> Normalisation:
    """Return the mean of each channel of ``images``, and the recipe's deviation or theirs, in units of [0, 1].

    Raises:
        InputError: the recipe has deviations, but not one for each channel.
    """
    require_deviations(recipe, images)
    mean, deviation = channel_statistics(images)
    return mean, deviation if recipe.deviations is None else recipe.deviations


def require_deviations(recipe: TrainingRecipe, images: LabelledImages) -> None:
    """Raise InputError if the recipe has deviations, but not one for each channel."""
    channels, given = images.shape[0], recipe.deviations
    if given is not None and (len(given) != channels or min(given) <= 0):
        raise InputError(f"train.deviations: expected {channels} numbers above 0, one for each channel, got {given}")


def require_batch(recipe: TrainingRecipe, train: LabelledImages) -> None:
    """Raise InputError if a batch is larger than the training set."""
    sizes = {"train.batch_size": recipe.batch_size} | ({"train.simclr.batch_size": recipe.simclr.batch_size} if recipe.pretraining else {})
    for setting, size in sizes.items():
        if size > len(train):
            raise InputError(f"{setting}: expected at most {len(train)}, the images of the training set, got {size}")


def _accuracy(network: Network, images: LabelledImages) -> float:
    return accuracy(network.logits(seen(images, network.device)), torch.from_numpy(images.labels).to(network.device))


def _finite(model: nn.Module, epoch: int) -> dict[str, Tensor]:
    """Return a copy of the model's state on the CPU; raise DivergedError if a number is not finite."""
    state = model.state_dict()
    finite = torch.stack([value.isfinite().all() for value in state.values()]).cpu().tolist()
    for name, good in zip(state, finite, strict=True):
        if not good:
            raise DivergedError(
                f"weights: expected finite numbers, got others in {name} after epoch {epoch}; checkpoints before it are kept"
            )
    return on_host(state)
