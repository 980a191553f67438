"""One training loop for every network, image set and recipe."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnable.errors import DivergedError, InputError
from unlearnable.images import LabelledImages, channel_statistics
from unlearnable.metrics import accuracy
from unlearnable.models import ImageClassifier, build
from unlearnable.seeds import torch_generator
from unlearnable.training.augmentation import augment, cutmix
from unlearnable.training.checkpoint import Checkpoint
from unlearnable.training.device import Projected, as_float, choose_device, seen
from unlearnable.training.network import Network, Normalisation
from unlearnable.training.recipe import TrainingRecipe

ADAM_DECAY = 0.999  # of squared gradients
SLOTS = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq", "step")}  # what each optimiser keeps of a parameter
CHECKED_TOGETHER = 50  # steps whose losses are looked at together: on a GPU each look waits for it
Progress = Callable[[int, int], None]
Report = Callable[[int, dict[str, float]], None]
Draws = dict[str, Tensor]
Loss = Callable[["Trainer", Tensor, Tensor, torch.Generator], Tensor]


def plain_loss(trainer: "Trainer", images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the loss of an augmented batch (N, C, H, W) with labels (N,), mixed by CutMix as often as the recipe says."""
    probability = trainer.recipe.augmentation.cutmix
    if not probability or float(torch.rand(1, generator=generator)) >= probability:
        return trainer.cross_entropy(trainer.forward(images), labels)
    return mixed_loss(trainer, *cutmix(images, generator), labels)


def mixed_loss(trainer: "Trainer", images: Tensor, order: Tensor, kept: float, labels: Tensor) -> Tensor:
    """Return the loss of mixed images, of which ``kept`` is the share of the first ones and the rest of those in ``order``."""
    logits = trainer.forward(images)
    return kept * trainer.cross_entropy(logits, labels) + (1 - kept) * trainer.cross_entropy(logits, labels[order])


def leave(network: Network) -> None:
    """Leave a trained network as it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """What a recovery does otherwise than plain training; the recipe, its order and its augmentation stay what they are.

    Args:
        loss: of a batch that the recipe has augmented. It draws nothing from the generator that plain training would not draw.
        finish: changes the network after the last epoch, before that is measured.
        held_out: clean images on which the accuracy is measured after every epoch too, as ``held_out_accuracy``.
    """

    loss: Loss = plain_loss
    finish: Callable[[Network], None] = leave
    held_out: LabelledImages | None = None


PLAIN = Method()


def ignore(done: int, total: int) -> None:
    """Show no progress."""


def untold(number: int, measured: dict[str, float]) -> None:
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
) -> Iterator[Checkpoint]:
    """Train ``model`` and yield a checkpoint after every epoch.

    Where an earlier training was cut off, its checkpoints ``done`` are yielded first, and the training goes on from the last of
    them to the same losses and weights as if it had never stopped.

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
        progress: called with steps done and steps in all.
        done: checkpoints of the same recipe, the last with what goes on beside the model.
        method: what is done otherwise than in plain training.

    Raises:
        DivergedError: where the loss or a weight is no longer finite; it names the step, and no checkpoint is yielded after it.
    """
    run = Trainer(model, recipe, normalisation, device, loss=method.loss)
    pixels, labels = seen(train, device), torch.from_numpy(train.labels).to(device)
    test_pixels, test_labels = seen(test, device), torch.from_numpy(test.labels).to(device)
    generator = torch_generator(seed, "train")
    yield from done
    history = list(done[-1].history) if done else []
    if done:
        run.resume(done[-1], generator)
    for epoch in range(len(history) + 1, recipe.epochs + 1):
        start = time.perf_counter()
        try:
            loss = run.epoch(pixels, labels, generator, progress)
            if epoch == recipe.epochs:
                method.finish(run)
        except DivergedError as error:
            where = f"in epoch {epoch} of {recipe.epochs}; checkpoints before it are kept"
            raise DivergedError(f"{error}, {where}: a lower train.learning_rate may help") from None
        seconds = time.perf_counter() - start
        measured: dict[str, float] = {
            "loss": loss,
            "test_accuracy": accuracy(run.logits(test_pixels), test_labels),
            "learning_rate": run.learning_rate,
            "images_per_second": len(train) / seconds,
            "seconds": seconds,
            "threads": torch.get_num_threads(),  # losses differ between thread counts from the second step on
        }
        if method.held_out is not None:
            measured["held_out_accuracy"] = _accuracy(run, method.held_out)
        history.append(measured)
        training = run.training(generator) if epoch < recipe.epochs else {}
        yield Checkpoint(epoch=epoch, epochs=recipe.epochs, state=_finite(model, epoch), history=list(history), training=training)


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
) -> Iterator[Checkpoint]:
    """Train a new model of that name, as ``fit`` does, normalising by the channels of ``like``.

    Raises:
        InputError: where the model is unknown, the device is missing, a batch is larger than the set, or the training diverges.
    """
    require_batch(recipe, train)
    model = build(name, shape=train.shape, num_classes=train.num_classes, seed=seed, initialisation=recipe.initialisation)
    yield from fit(
        model,
        train,
        test,
        recipe=recipe,
        normalisation=normalisation_of(like, recipe),
        seed=seed,
        device=choose_device(device),
        progress=progress,
        done=done,
        method=method,
    )


def normalisation_of(images: LabelledImages, recipe: TrainingRecipe) -> Normalisation:
    """Return the mean of each channel of ``images``, and the recipe's deviation or theirs, in units of [0, 1].

    Raises:
        InputError: the recipe has deviations, but not one for each channel.
    """
    require_deviations(recipe, images)
    mean, deviation = channel_statistics(images)
    return mean, deviation if recipe.deviations is None else recipe.deviations


def require_deviations(recipe: TrainingRecipe, images: LabelledImages) -> None:
    """Raise InputError where the recipe has deviations, but not one for each channel."""
    channels, given = images.shape[0], recipe.deviations
    if given is not None and (len(given) != channels or min(given) <= 0):
        raise InputError(f"train.deviations: expected {channels} numbers above 0, one for each channel, got {given}")


def require_batch(recipe: TrainingRecipe, train: LabelledImages) -> None:
    """Raise InputError where a batch is larger than the training set."""
    if recipe.batch_size > len(train):
        raise InputError(f"train.batch_size: expected at most {len(train)}, the images of the training set, got {recipe.batch_size}")


def _accuracy(network: Network, images: LabelledImages) -> float:
    return accuracy(network.logits(seen(images, network.device)), torch.from_numpy(images.labels).to(network.device))


def _finite(model: nn.Module, epoch: int) -> dict[str, Tensor]:
    """Return a copy of the model's state on the CPU; raise DivergedError where a number is not finite."""
    state = {name: _copy(value) for name, value in model.state_dict().items()}
    for name, value in state.items():
        if not value.isfinite().all():
            raise DivergedError(
                f"weights: expected finite numbers, got others in {name} after epoch {epoch}; checkpoints before it are kept"
            )
    return state


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _optimiser(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    shared: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), betas=(recipe.momentum, ADAM_DECAY), **shared)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)


def _like(saved: Tensor, parameter: Tensor) -> Tensor:
    """Return what the optimiser keeps of a parameter, in its layout; its count of steps has none and stays on the CPU."""
    return torch.empty_like(parameter, requires_grad=False).copy_(saved) if saved.shape == parameter.shape else saved.clone()


class Trainer(Network):
    """A network with its optimiser and what is done to every batch: trainings and the surrogates of poisons share it.

    Args:
        model: moved to ``device``.
        recipe: optimiser, precision and augmentation; its schedule is followed by ``epoch`` alone.
        normalisation: mean and standard deviation of each channel, in units of [0, 1].
        device: where.
        loss: of an augmented batch.
    """

    def __init__(
        self,
        model: ImageClassifier,
        recipe: TrainingRecipe,
        normalisation: Normalisation,
        device: torch.device,
        *,
        loss: Loss = plain_loss,
    ) -> None:
        super().__init__(model, normalisation, device, recipe.precision)
        self.recipe = recipe
        self.loss = loss
        self.optimiser = _optimiser(model, recipe)
        self.steps_done = 0
        self._unchecked: list[Tensor] = []

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def epoch(self, pixels: Tensor | Projected, labels: Tensor, generator: torch.Generator, progress: Progress) -> float:
        """Train on every image once, in a random order; return the mean loss."""
        batches = torch.randperm(len(pixels), generator=generator).split(self.recipe.batch_size)
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        for batch in batches:
            self._set_learning_rate(len(batches))
            chosen = batch.to(self.device)
            total += self.step(as_float(pixels[chosen]), labels[chosen], generator) * len(batch)
            progress(self.steps_done, self.recipe.epochs * len(batches))
        self._require_finite()
        return float(total) / len(pixels)

    def training(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return all that goes on from here beside the model's state, on the CPU: the optimiser's, the generator's and steps done."""
        kept = {f"{slot}/{name}": _copy(self.optimiser.state[parameter][slot]) for name, parameter, slot in self._slots()}
        return {**kept, "generator": generator.get_state(), "steps_done": torch.tensor(self.steps_done)}

    def resume(self, checkpoint: Checkpoint, generator: torch.Generator) -> None:
        """Put model, optimiser, ``generator`` and steps done back to what they were when ``checkpoint`` was made."""
        self.model.load_state_dict(checkpoint.state)
        generator.set_state(checkpoint.training["generator"])
        self.steps_done = int(checkpoint.training["steps_done"])
        for name, parameter, slot in self._slots():
            self.optimiser.state[parameter][slot] = _like(checkpoint.training[f"{slot}/{name}"], parameter)

    def _slots(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """Yield what the optimiser keeps: for each parameter its name, itself, and what of it."""
        kept = SLOTS[self.recipe.optimiser] if self.recipe.momentum or self.recipe.optimiser != "sgd" else ()
        for name, parameter in self.model.named_parameters():
            yield from ((name, parameter, slot) for slot in kept)

    def step(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Train on one batch of images in units of [0, 1] with labels (N,); return its loss before the step.

        Raises:
            DivergedError: some steps after a loss that is not finite.
        """
        self.model.train()
        images = augment(images, self.recipe.augmentation, generator)
        loss = self.loss(self, images, labels, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimiser.step()
        self.steps_done += 1
        self._unchecked.append(loss.detach())
        if len(self._unchecked) == CHECKED_TOGETHER:
            self._require_finite()
        return loss.detach()

    def _require_finite(self) -> None:
        if not self._unchecked:
            return
        losses = torch.stack(self._unchecked).cpu()
        self._unchecked.clear()
        wrong = (~losses.isfinite()).nonzero()
        if len(wrong):
            first = int(wrong[0])
            step = self.steps_done - len(losses) + first + 1
            raise DivergedError(f"loss: expected a finite number, got {float(losses[first])} at step {step}")

    def cross_entropy(self, logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """Return the loss of logits (N, K) with labels (N,), smoothed as the recipe says: its mean, or (N,) for ``none``."""
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing, reduction=reduction)

    def _set_learning_rate(self, steps_an_epoch: int) -> None:
        factor = self.recipe.learning_rate_factor(self.steps_done / steps_an_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * factor
