"""A network with its optimiser: one step of every training, and of every surrogate."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnable.errors import DivergedError
from unlearnable.images import LabelledImages
from unlearnable.models import ImageClassifier
from unlearnable.seeds import Draws, sent, sent_one, torch_generator
from unlearnable.training.augmentation import Shape, applied, draw, draw_cutmix
from unlearnable.training.checkpoint import Checkpoint
from unlearnable.training.device import on_host
from unlearnable.training.muon import muon
from unlearnable.training.network import Network, Normalisation
from unlearnable.training.pixels import Pixels, Projected, as_float, lies_on_host
from unlearnable.training.recipe import TrainingRecipe
from unlearnable.training.replay import Replays

ADAM_DECAY = 0.999  # of squared gradients
SLOTS = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq", "step")}  # what each optimiser keeps of a parameter
CHECKED_TOGETHER = 50  # steps whose losses are looked at together: on a GPU each look waits for it
Progress = Callable[[int, int], None]
Loss = Callable[["Trainer", Tensor, Tensor, Draws, Draws], Tensor]
OwnDraws = Callable[[int, int, Shape], Draws]


def plain_loss(trainer: "Trainer", images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:  # noqa: ARG001
    """Return the loss of an augmented batch (N, C, H, W) with labels (N,), mixed by CutMix where the recipe has it."""
    if "box" not in shared:
        return trainer.cross_entropy(trainer.forward(images), labels)
    return pasted_loss(trainer, images, labels, shared)


def pasted_loss(trainer: "Trainer", images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """Return the loss of images (N, C, H, W) with a box of another in each, as ``draw_cutmix`` drew it."""
    mixed = torch.where(draws["box"], images[draws["order"]], images)
    return mixed_loss(trainer, mixed, labels, draws)


def mixed_loss(trainer: "Trainer", images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """Return the loss of mixed images: ``shares`` (2,) says how much of it is that of their labels, and of those in ``order`` (N,)."""
    logits = trainer.forward(images)
    first, other = (trainer.cross_entropy(logits, each) for each in (labels, labels[draws["order"]]))
    return draws["shares"][0] * first + draws["shares"][1] * other


def no_draws(step: int, count: int, shape: Shape) -> Draws:  # noqa: ARG001
    """Draw nothing."""
    return {}


def leave(trainer: "Trainer") -> None:
    """Leave a trained network as it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """How a recovery differs from plain training; the recipe, its order and its augmentation stay the same.

    On a GPU a step is recorded once for each size of batch and replayed from then on. So ``loss`` may not draw, may not read a
    number from the device, and must do the same for every batch; what differs between batches comes from ``draw``.

    Args:
        loss: of a batch that the recipe has augmented, given what plain training drew for it and what the method itself drew.
        draw: what the method itself draws, on the CPU, for a step, as many images, and their shape. Shapes depend on the latter two alone.
        mixes: it mixes images itself, instead of the CutMix that a recipe may have.
        finish: changes the network after the last epoch, before it is measured.
        held_out: clean images on which the accuracy is measured after every epoch too, as ``held_out_accuracy``.
    """

    loss: Loss = plain_loss
    draw: OwnDraws = no_draws
    mixes: bool = False
    finish: Callable[["Trainer"], None] = leave
    held_out: LabelledImages | None = None


PLAIN = Method()


def ignore(done: int, total: int) -> None:
    """Show no progress."""


def _optimiser(model: ImageClassifier, recipe: TrainingRecipe, device: torch.device) -> torch.optim.Optimizer:
    shared: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), betas=(recipe.momentum, ADAM_DECAY), **shared)
    one_kernel = device.type == "cuda" or None  # elsewhere torch chooses
    shared |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov, "fused": one_kernel}
    return torch.optim.SGD(model.parameters(), **shared) if recipe.muon is None else muon(model, rate=recipe.muon, **shared)


def _like(saved: Tensor, parameter: Tensor) -> Tensor:
    """Return what the optimiser keeps of a parameter, in its layout; its count of steps has none and stays on the CPU."""
    return torch.empty_like(parameter, requires_grad=False).copy_(saved) if saved.shape == parameter.shape else saved.clone()


class Trainer(Network):
    """A network with its optimiser and what is done to every batch: trainings and the surrogates of poisons share it.

    Args:
        model: moved to ``device``; what the recipe freezes is frozen.
        recipe: optimiser, precision and augmentation; its schedule is followed by ``epoch`` alone.
        normalisation: mean and standard deviation of each channel, in units of [0, 1].
        device: where.
        method: how the training differs from plain training.
    """

    def __init__(
        self,
        model: ImageClassifier,
        recipe: TrainingRecipe,
        normalisation: Normalisation,
        device: torch.device,
        *,
        method: Method = PLAIN,
    ) -> None:
        super().__init__(model, normalisation, device, recipe.precision)
        self.recipe = recipe
        self.method = method
        if recipe.freeze is not None:
            model.freeze(recipe.freeze)
        self.optimiser = _optimiser(model, recipe, device)
        self.steps_done = 0
        self._unchecked: list[Tensor] = []
        self._gradients = Replays(self._computed, list(model.parameters()), device)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def epoch(self, pixels: Pixels | Projected, labels: Tensor, generator: torch.Generator, progress: Progress) -> float:
        """Train on every image once, in a random order; return the mean loss."""
        order = torch.randperm(len(pixels), generator=generator)
        sizes = [len(batch) for batch in order.split(self.recipe.batch_size)]
        drawn = [self._drawn(size, pixels.shape[1:], generator) for size in sizes]
        if self.recipe.augmentation.alternate_flip:
            mirrored = self._mirrored(len(pixels), self.steps_done // len(sizes), generator)[order].view(-1, 1, 1, 1)
            drawn = [draws | {"flip": flip} for draws, flip in zip(drawn, mirrored.split(self.recipe.batch_size), strict=True)]
        drawn = self._sent(drawn[:-1]) + self._sent(drawn[-1:])  # the last batch may be smaller
        losses = []
        there = sent_one(order, self.device)
        places = (order if lies_on_host(pixels) else there, there)  # of images, and of labels
        for looked_up, chosen, shared in zip(*(each.split(self.recipe.batch_size) for each in places), drawn, strict=True):
            self._set_learning_rate(len(sizes))
            losses.append(self._trained(pixels[looked_up], labels[chosen], shared))
            progress(self.steps_done, self.recipe.epochs * len(sizes))
        self._require_finite()
        return _mean(losses, sizes)

    def training(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return what resuming needs beside the model's state, on the CPU: the state of optimiser and generator, and steps done."""
        kept = on_host({f"{slot}/{name}": self.optimiser.state[parameter][slot] for name, parameter, slot in self._slots()})
        return {**kept, "generator": generator.get_state(), "steps_done": torch.tensor(self.steps_done)}

    def resume(self, checkpoint: Checkpoint, generator: torch.Generator) -> None:
        """Restore model, optimiser, ``generator`` and steps done from ``checkpoint``."""
        self.restore(checkpoint)
        generator.set_state(checkpoint.training["generator"])
        self.steps_done = int(checkpoint.training["steps_done"])
        for name, parameter, slot in self._slots():
            self.optimiser.state[parameter][slot] = _like(checkpoint.training[f"{slot}/{name}"], parameter)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the model."""
        self.model.load_state_dict(checkpoint.state)

    def _slots(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """Yield what the optimiser keeps: for each parameter its name, itself, and what of it."""
        kept = SLOTS[self.recipe.optimiser] if self.recipe.momentum or self.recipe.optimiser != "sgd" else ()
        for name, parameter in self.model.named_parameters():
            yield from ((name, parameter, slot) for slot in kept if parameter.requires_grad)

    def step(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Train on one batch of images in units of [0, 1] with labels (N,); return its loss before the step.

        Raises:
            DivergedError: some steps after a loss that is not finite.
        """
        return self._trained(images, labels, sent(self._drawn(len(images), images.shape[1:], generator), self.device))

    def _drawn(self, count: int, shape: Shape, generator: torch.Generator) -> Draws:
        """Return what plain training draws for a batch: its augmentation, then CutMix."""
        recipe = self.recipe.augmentation
        draws = draw(recipe, count, shape, generator)
        return draws | draw_cutmix(recipe.cutmix, count, shape, generator) if recipe.cutmix and not self.method.mixes else draws

    @staticmethod
    def _mirrored(count: int, epochs_done: int, generator: torch.Generator) -> Tensor:
        """Return (count,) which images an epoch mirrors: a half that depends on the seed of ``generator`` alone, then the other half."""
        half = torch.rand(count, generator=torch_generator(generator.initial_seed(), "alternate_flip")) < 0.5
        return half ^ (epochs_done % 2 == 1)

    def _sent(self, drawn: Sequence[Draws]) -> list[Draws]:
        """Return the draws of batches of one size on the device, where they arrive together."""
        together = {name: sent_one(torch.stack([draws[name] for draws in drawn]), self.device) for name in (drawn[0] if drawn else {})}
        return [{name: values[place] for name, values in together.items()} for place in range(len(drawn))]

    def _trained(self, images: Tensor, labels: Tensor, shared: Draws) -> Tensor:
        """Take a step on a batch of bytes, or of float32 in units of [0, 1]; return its loss before the step."""
        own = sent(self.method.draw(self.steps_done, len(images), images.shape[1:]), self.device)
        self.model.train()
        loss = self._gradients(images, labels, shared, own)
        if self.recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimiser.step()
        self.steps_done += 1
        self._unchecked.append(loss)
        if len(self._unchecked) == CHECKED_TOGETHER:
            self._require_finite()
        return loss

    def _computed(self, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:
        """Compute the gradients of a batch; return its loss. All of it can be recorded."""
        self.optimiser.zero_grad(set_to_none=True)
        images = applied(as_float(images), self.recipe.augmentation, shared)
        loss = self.method.loss(self, images, labels, shared, own)
        loss.backward()
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
            group["lr"] = group.get("initial_lr", self.recipe.learning_rate) * factor


def _mean(losses: Sequence[Tensor], sizes: Sequence[int]) -> float:
    """Return the mean loss of an image, of those of batches and their sizes."""
    sums = torch.stack(list(losses)).cpu() * torch.tensor(sizes)
    return float(sums.double().cumsum(0)[-1]) / sum(sizes)
