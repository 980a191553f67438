"""The library as one imports it: ``import unlearnable``, then ``craft``, ``recover``, ``train``, ``probe`` and others.

Images are uint8 arrays (N, C, H, W), their labels whole numbers from 0 on (N,). ``LabelledImages`` holds both; wherever one is taken, the
pair (images, labels) will do. Settings are keyword arguments, checked before anything runs, with their published values as defaults;
``docs/methods.md`` has the names of methods, and the signature of each its settings. A block of settings is a dictionary. The same
arguments give the same result on the same kind of device; ``device`` is ``cpu``, ``cuda`` or ``auto``.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from unlearnable import poisons, probes, recoveries, signatures
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.models import build, require_model, require_takes
from unlearnable.recoveries import Recovery, recovery_named
from unlearnable.training import (
    Checkpoint,
    Network,
    Normalisation,
    Progress,
    TrainingRecipe,
    fit_named,
    ignore,
    normalisation_of,
    recipe_from,
)
from unlearnable.training.device import choose_device, enough_memory
from unlearnable.training.pixels import seen

__all__ = ["InputError", "LabelledImages", "Training", "craft", "labelled", "learnability", "probe", "recover", "separability", "train"]

Images = LabelledImages | tuple[npt.ArrayLike, npt.ArrayLike]
CHANNELS = (1, 3, 4)


def labelled(
    images: npt.ArrayLike, labels: npt.ArrayLike, *, class_names: tuple[str, ...] = (), num_classes: int | None = None
) -> LabelledImages:
    """Return images with their labels as a set.

    Args:
        images: uint8 (N, C, H, W).
        labels: whole numbers (N,), from 0 on.
        class_names: of all classes, for messages.
        num_classes: how many there are; None is as many as there are names, or one more than the largest label.

    Raises:
        InputError: shape, type or range are others; of images (N, H, W, C) it says how to turn them.
    """
    pixels, numbers = np.ascontiguousarray(images), np.asarray(labels)
    if pixels.ndim == 4 and pixels.shape[1] not in CHANNELS and pixels.shape[3] in CHANNELS:
        raise InputError(f"images: expected (N, C, H, W), got {pixels.shape}: use images.transpose(0, 3, 1, 2)")
    if numbers.dtype.kind in "iu":
        numbers = numbers.astype(np.int64)
    found = num_classes or len(class_names) or (int(numbers.max()) + 1 if numbers.size else 1)
    return LabelledImages(images=pixels, labels=numbers, num_classes=found, class_names=class_names)


def craft(
    poison: str,
    images: Images | npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = ignore,
    **settings: Any,
) -> LabelledImages:
    """Return the images with a poison applied: ``craft("ops", images, labels)``.

    Args:
        poison: its name.
        images: uint8 (N, C, H, W); or a set, and then no labels.
        labels: whole numbers (N,).
        seed: decides every draw.
        device: where.
        progress: called with steps done and in all.
        settings: of the poison.

    Raises:
        InputError: the name is unknown, a setting is wrong, or these images cannot be poisoned so.
    """
    clean = _set(images if labels is None else (images, labels))
    signatures.require(f"craft.{poison}", signatures.settings_of(poisons.POISONS[poison]), settings)
    poisons.require(poison, clean, settings)
    crafting = poisons.Crafting(seed=seed, device=choose_device(device), progress=progress)
    with enough_memory("the number of images"):
        return poisons.craft(poison, clean, crafting, settings=settings)


def recover(
    recovery: str, poisoned: Images, *, clean: Images | None = None, seed: int = 0, device: str = "cpu", **settings: Any
) -> LabelledImages:
    """Return the images after a recovery: ``recover("orthogonal_projection", poisoned)``.

    Some recoveries remove directions: what they return has the ``images`` of the poisoned set and a ``projection``, through which
    ``pixels()``, ``to_torch()`` and ``train`` see them.

    Args:
        recovery: its name; one that changes the training, and no image, is for ``train(..., recovery=...)``.
        poisoned: the set.
        clean: the original images, some of which ``pairs`` is given.
        seed: decides every draw.
        device: where.
        settings: of the recovery.

    Raises:
        InputError: the name is unknown, a setting is wrong, the recovery changes no image, or it needs clean images and there are too few.
    """
    chosen, images = _recovery(recovery, settings), _set(poisoned)
    if recovery != "none" and type(chosen).recovered is Recovery.recovered:
        got = f"'{recovery}', which changes the training: use train(..., recovery='{recovery}')"
        raise InputError(f"recovery: expected one that changes images, got {got}")
    _require_clean(chosen, clean)
    originals = None if clean is None else _set(clean, images.num_classes)
    chosen.require(originals or images)
    with enough_memory("the number of images"):
        return recoveries.recover(recovery, images, clean=originals, seed=seed, device=choose_device(device), settings=settings)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Training:
    """A trained network and how it came about.

    Args:
        model: its name.
        network: it answers ``logits`` and ``features`` of images on its device, and its ``model`` is a torch module.
        taken: its checkpoint, that of the last epoch but for the recovery ``early_stopping``.
        checkpoints: those that were kept, the oldest first.
        recipe: what it was trained with.
        normalisation: mean and deviation of the channels, by which the network sees images.
        seed: that decided it.
    """

    model: str
    network: Network
    taken: Checkpoint
    checkpoints: tuple[Checkpoint, ...]
    recipe: TrainingRecipe
    normalisation: Normalisation
    seed: int

    @property
    def accuracy(self) -> float:
        """The network's accuracy on the test set, a fraction."""
        return self.taken.measured["test_accuracy"]

    @property
    def history(self) -> pd.DataFrame:
        """A row for each epoch, from 1: ``loss``, ``test_accuracy`` (a fraction), ``learning_rate`` and others."""
        return pd.DataFrame(self.checkpoints[-1].history).rename(index=lambda place: place + 1).rename_axis("epoch")

    def predict(self, images: LabelledImages | npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the predicted class (N,) of each image of a set, or of an array uint8 (N, C, H, W)."""
        if not isinstance(images, LabelledImages):
            images = labelled(images, np.zeros(len(np.asarray(images)), dtype=np.int64))
        found: npt.NDArray[np.int64] = self.network.logits(seen(images, self.network.device)).argmax(1).cpu().numpy()
        return found

    def __repr__(self) -> str:
        return f"Training({self.model}, epoch {self.taken.epoch} of {self.taken.epochs}, test accuracy {self.accuracy:.3f})"


def train(
    model: str,
    images: Images,
    test: Images,
    *,
    recovery: str = "none",
    recovery_settings: dict[str, Any] | None = None,
    clean: Images | None = None,
    keep: int = 1,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = ignore,
    **settings: Any,
) -> Training:
    """Return a new network, trained on ``images`` and measured on ``test`` after every epoch.

    Args:
        model: its name.
        images: the set, seen through its projection where it has one.
        test: the set that its accuracy is measured on.
        recovery: by which it learns from a poisoned set: any, also one that changes images.
        recovery_settings: of that.
        clean: clean training images. Pixels are normalised by the mean and deviation of their channels, and some recoveries are given
            some of them. None normalises by ``images``.
        keep: how many checkpoints are kept, the newest ones; 0 keeps all, for ``probe``.
        seed: decides first weights, order and augmentation.
        device: where.
        progress: called with steps done and in all.
        settings: of the training: ``epochs``, ``batch_size``, ``learning_rate``, ``augmentation`` and more.

    Raises:
        InputError: a name is unknown, a setting is wrong, or the sets do not suit them.
        DivergedError: the loss is no longer finite.
    """
    require_model("model", model)
    signatures.require("train", signatures.settings_of(TrainingRecipe), settings)
    chosen, recipe, poisoned = _recovery(recovery, recovery_settings or {}), recipe_from(settings), _set(images)
    require_takes(model, poisoned.shape, weights=recipe.weights, freeze=recipe.freeze, muon=recipe.muon)
    _require_clean(chosen, clean)
    like = poisoned if clean is None else _set(clean)
    chosen.require(like)
    with enough_memory("batch_size"):
        recovered = chosen.recovered_beside(poisoned, like, seed=seed, device=choose_device(device))
        checkpoints = fit_named(
            model,
            recovered,
            chosen.test(_set(test, poisoned.num_classes), recovered),
            like=like,
            recipe=recipe,
            seed=seed,
            device=device,
            progress=progress,
            method=chosen.method(like, seed=seed),
            resumable=False,
        )
        return _trained(model, checkpoints, keep, like, recipe, seed, choose_device(device))


def _trained(
    model: str, checkpoints: Iterable[Checkpoint], keep: int, like: LabelledImages, recipe: TrainingRecipe, seed: int, device: torch.device
) -> Training:
    """Run a training, and return the network that is taken of it: the last, or the best one (the first of equals) on held-out images."""
    kept: list[Checkpoint] = []
    taken: Checkpoint | None = None
    for checkpoint in checkpoints:
        kept = [*kept, checkpoint][-keep:]
        if taken is None or _held_out(checkpoint) > _held_out(taken):
            taken = checkpoint
    if taken is None or math.isnan(_held_out(taken)):
        taken = kept[-1]
    network = build(model, shape=like.shape, num_classes=taken.state["head.bias"].numel(), seed=seed, initialisation=recipe.initialisation)
    network.load_state_dict(taken.state)
    normalisation = normalisation_of(like, recipe)
    return Training(
        model=model,
        network=Network(network, normalisation, device, recipe.precision),
        taken=taken,
        checkpoints=tuple(kept),
        recipe=recipe,
        normalisation=normalisation,
        seed=seed,
    )


def _held_out(checkpoint: Checkpoint) -> float:
    return checkpoint.measured.get("held_out_accuracy", math.nan)


def probe(
    training: Training, clean: Images, test: Images, *, device: str = "cpu", progress: Progress = ignore, **settings: Any
) -> pd.DataFrame:
    """Return what a network had learned at each checkpoint that was kept, and before its first step: new heads are fitted to its features.

    Args:
        training: what ``train`` returned; its seed is that of the probe too.
        clean: clean training images, some of which heads are fitted to and some held out.
        test: the set that heads are measured on.
        device: where.
        progress: called with checkpoints done and in all.
        settings: of deep feature reweighting: ``clean_samples``, ``held_out``, ``estimators``, ``l2`` and more.

    Returns:
        a row for each epoch (0 is the network before its first step), estimator and number of clean samples: ``plain_accuracy`` of the
        network's own head on ``test``, ``test_accuracy``, ``held_out_accuracy`` and ``train_accuracy`` of the new head, as fractions.

    Raises:
        InputError: a setting is wrong, or there are too few clean images.
    """
    signatures.require("probe", signatures.settings_of(probes.ReweightingRecipe), settings)
    samples = _set(clean)
    with enough_memory("clean_samples"):
        rows = probes.reweight(
            training.checkpoints,
            samples,
            _set(test, samples.num_classes),
            model=training.model,
            training=training.recipe,
            recipe=probes.ReweightingRecipe(**settings),
            seed=training.seed,
            device=choose_device(device),
            progress=progress,
            normalisation=training.normalisation,
        )
    return pd.DataFrame(rows)


def learnability(training: Training, test: Images, *, device: str = "cpu", progress: Progress = ignore, **settings: Any) -> dict[str, Any]:
    """Return a bound on what networks near a trained one reach, each with noise on its weights; see ``probes.learnability``.

    Args:
        training: what ``train`` returned; its seed is that of the noise too.
        test: the set that networks are measured on.
        device: where.
        progress: called with draws done and in all.
        settings: ``draws``, ``deviation``, ``quantile`` and ``radii``.

    Raises:
        InputError: a setting is wrong.
    """
    signatures.require("learnability", signatures.settings_of(probes.LearnabilityRecipe), settings)
    with enough_memory("the number of images"):
        return probes.learnability(
            training.taken,
            _set(test, training.network.model.head.out_features),
            model=training.model,
            training=training.recipe,
            recipe=probes.LearnabilityRecipe(**settings),
            normalisation=training.normalisation,
            seed=training.seed,
            device=choose_device(device),
            progress=progress,
        )


def separability(clean: Images, poisoned: Images, *, device: str = "cpu", progress: Progress = ignore, **settings: Any) -> dict[str, Any]:
    """Return how well simple models tell the classes of a perturbation, poisoned less clean images, apart; see ``probes.separability``.

    Args:
        clean: the clean images.
        poisoned: the same ones poisoned, in the same order.
        device: where.
        progress: called with iterations done and in all.
        settings: ``held_out``, ``iterations`` and more.

    Raises:
        InputError: a setting is wrong, or the sets do not belong together.
    """
    signatures.require("separability", signatures.settings_of(probes.SeparabilityRecipe), settings)
    after = _set(poisoned)
    with enough_memory("the number of images"):
        return probes.separability(
            probes.perturbations(_set(clean), after),
            torch.from_numpy(after.labels),
            num_classes=after.num_classes,
            recipe=probes.SeparabilityRecipe(**settings),
            device=choose_device(device),
            progress=progress,
        )


def _set(images: Any, num_classes: int | None = None) -> LabelledImages:
    """Return what was given as a set."""
    if isinstance(images, LabelledImages):
        return images
    if not isinstance(images, (tuple, list)) or len(images) != 2:
        raise InputError(f"images: expected a set, or the pair (images, labels), got {type(images).__name__}")
    return labelled(*images, num_classes=num_classes)


def _require_clean(chosen: Recovery, clean: Images | None) -> None:
    """Raise InputError if the recovery needs clean images and is given none."""
    if clean is None and chosen.needs.clean_samples:
        raise InputError(f"clean: expected clean images, {chosen.needs.clean_samples} of which '{chosen.name}' takes, got none")


def _recovery(name: str, settings: dict[str, Any]) -> Recovery:
    signatures.require(f"recover.{name}", signatures.settings_of(recoveries.RECOVERIES[name]), settings)
    return recovery_named(name, settings)
