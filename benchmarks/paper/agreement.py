"""Whether the card computes what the CPU does, how exactly it repeats itself, and how fast its engine is: numbers, no verdicts."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from benchmarks.paper import machine
from benchmarks.poisons import Settings, merged
from unlearnable.images import LabelledImages
from unlearnable.models import build
from unlearnable.poisons import Crafting, craft
from unlearnable.probes import fitted_head
from unlearnable.recoveries import OrthogonalProjection
from unlearnable.training import Checkpoint, Network, TrainingRecipe, fit_named, normalisation_of, recipe_from
from unlearnable.training.augmentation import augment
from unlearnable.training.pixels import as_float
from unlearnable.training.replay import eager

CPU = torch.device("cpu")
Found = dict[str, Any]
FEW_STEPS: Settings = {  # poisons, cut short: the CPU crafts them too, and signs of gradients part soon enough
    "em_samplewise": {"surrogate": {"batch_size": 128, "precision": "float32"}, "noise": {"steps": 2, "train_batches": 2, "rounds": 1}},
    "pil": {"epochs": 2, "steps": 2},
    "ntga": {"steps": 1, "held_out": 256, "block_size": 256},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """What is compared on.

    Args:
        images: half of CIFAR-10's training images, or fewer.
        device: the card.
        model: which network.
        settings: of the paper's part, for that network.
        report: called with what was measured of each epoch that is a whole one of ``images``.
    """

    images: LabelledImages
    device: torch.device
    model: str
    settings: Settings
    report: Callable[[int, dict[str, float]], None]

    def first(self, count: int) -> LabelledImages:
        """Return so many images, or all where there are fewer."""
        return self.images.subset(np.arange(min(count, len(self.images))))

    def recipe(self, kind: str, **changes: Any) -> TrainingRecipe:
        """Return the ``plain`` or the ``published`` recipe with some changes."""
        found = self.settings["probe"]["train"] if kind == "plain" else self.settings["train"]
        return replace(recipe_from(found), **changes)

    def trained(self, images: LabelledImages, recipe: TrainingRecipe, device: torch.device, done: Any = ()) -> Iterator[Checkpoint]:
        """Yield the checkpoints of a training that is hardly tested."""
        few = self.images.subset(np.arange(2))
        return fit_named(self.model, images, few, like=self.images, recipe=recipe, seed=0, device=device.type, done=done)


def step(ground: Ground) -> Found:
    """Return the losses of twenty steps from the same weights on the same 64 images, in float32 on both."""
    images = ground.first(64)
    recipe = ground.recipe("plain", epochs=20, batch_size=len(images), precision="float32")
    losses = [[epoch["loss"] for epoch in _last(ground.trained(images, recipe, device)).history] for device in (CPU, ground.device)]
    differences = [abs(ours - theirs) for ours, theirs in zip(*losses, strict=True)]
    return {"losses_cpu": losses[0], "losses_device": losses[1], "first_difference": differences[0], "largest_difference": max(differences)}


def augmentation(ground: Ground) -> Found:
    """Return how much augmented images differ, by the same draws: at ties of the nearest pixel another one may be taken."""
    pixels, found = torch.from_numpy(ground.first(1024).images), {}
    for kind in ("plain", "published"):
        recipe = ground.recipe(kind).augmentation
        ours, theirs = (augment(as_float(pixels.to(d)), recipe, torch.Generator().manual_seed(0)).cpu() for d in (CPU, ground.device))
        difference = (ours - theirs).abs()
        found[kind] = {"largest_difference": float(difference.max()), "share_above_1e-4": float((difference > 1e-4).double().mean())}
    return found


def subspace(ground: Ground) -> Found:
    """Return the principal angles, in degrees, between what Orthogonal Projection removes from one-pixel shortcuts on both."""
    poisoned = craft("ops", ground.images, Crafting(), settings={})
    fit = ground.settings["recover"]["orthogonal_projection"]
    recovery = OrthogonalProjection(**fit)
    linear = [recovery.fit(poisoned, seed=0, device=device) for device in (CPU, ground.device)]
    return {
        "angles": principal_angles(*(recovery.directions_of(each).basis for each in linear)),
        "train_accuracies": [each.train_accuracy for each in linear],
    }


def principal_angles(first: Any, second: Any) -> list[float]:
    """Return the angles in degrees, the largest first, between the spans of orthonormal columns (D, K)."""
    ours, theirs = (np.linalg.qr(basis.astype(np.float64))[0] for basis in (first, second))
    sines = np.linalg.svd(theirs - ours @ (ours.T @ theirs), compute_uv=False)  # an arc cosine would not see less than 1e-8
    return [float(angle) for angle in np.degrees(np.arcsin(sines.clip(max=1)))]


def dfr_head(ground: Ground) -> Found:
    """Return how much a new head differs that is fitted on both to the same features, those of the untrained network."""
    images = ground.first(1000)
    recipe = ground.recipe("plain", precision="float32")
    model = build(ground.model, shape=images.shape, num_classes=images.num_classes, seed=0, initialisation=recipe.initialisation)
    features = Network(model, normalisation_of(images, recipe), CPU, "float32").features(torch.from_numpy(images.images))
    labels, l2 = torch.from_numpy(images.labels), ground.settings["probe"]["l2"]
    ours, theirs = (
        fitted_head(features.to(device), labels.to(device), num_classes=images.num_classes, l2=l2).logits(features.to(device)).cpu()
        for device in (CPU, ground.device)
    )
    same = (ours.argmax(1) == theirs.argmax(1)).double().mean()
    return {"largest_difference_of_logits": float((ours - theirs).abs().max()), "same_predictions": float(same)}


def poison(name: str) -> Callable[[Ground], Found]:
    """Return the check of a poison: the share of pixels that differ after rounding, and by how many levels."""

    def check(ground: Ground) -> Found:
        images, settings = ground.first(512), merged(ground.settings["craft"][name], FEW_STEPS[name])
        ours, theirs = (
            craft(name, images, Crafting(device=device), settings=settings).images.astype(int) for device in (CPU, ground.device)
        )
        difference = np.abs(ours - theirs)
        return {"largest_difference_levels": int(difference.max()), "share_of_pixels": float((difference > 0).mean())}

    return check


def resume(ground: Ground) -> Found:
    """Return how much weights differ after two epochs, of which the second was resumed, from those of two in one go."""
    images, recipe = ground.first(2560), ground.recipe("published", epochs=2)
    first, last = ground.trained(images, recipe, ground.device)
    *_, resumed = ground.trained(images, recipe, ground.device, done=[first])
    return _apart(last, resumed)


def rerun(ground: Ground) -> Found:
    """Return how much weights differ between two runs of one training of an epoch, for each recipe."""
    images, found = ground.first(2560), {}
    for kind in ("plain", "published"):
        recipe = ground.recipe(kind, epochs=1)
        found[kind] = _apart(*(_last(ground.trained(images, recipe, ground.device)) for _ in range(2)))
    return found


def graphs(ground: Ground) -> Found:
    """Return how much weights differ between two epochs whose steps were computed anew, and two whose steps were recorded."""
    images, found = ground.first(2560), {}
    for kind in ("plain", "published"):
        recipe, ends = ground.recipe(kind, epochs=2), []
        for context in _engines().values():
            with context:
                ends.append(_last(ground.trained(images, recipe, ground.device)))
        found[kind] = _apart(*ends)
    return found


def milliseconds(ground: Ground) -> Found:
    """Return the milliseconds of a step of the second epoch, by recipe and engine."""
    found: Found = {}
    for kind in ("plain", "published"):
        recipe = ground.recipe(kind, epochs=max(2, ground.recipe(kind).epochs))
        steps = -(-len(ground.images) // recipe.batch_size)
        for engine, context in _engines().items():
            with context:
                for epoch in islice(ground.trained(ground.images, recipe, ground.device), 2):
                    ground.report(epoch.epoch, epoch.measured)
            found.setdefault(kind, {})[engine] = 1000 * epoch.measured["seconds"] / steps
    return {
        "batch_size": recipe.batch_size,
        "model": ground.model,
        "milliseconds": found,
        "flags": machine.flags(ground.device, recipe.precision),
    }


def _engines() -> dict[str, Any]:
    """Return a context for each engine, the one that is used last."""
    return {"eager": eager(), "recorded": nullcontext()}


def _last(training: Iterator[Checkpoint]) -> Checkpoint:
    *_, last = training
    return last


def _apart(first: Checkpoint, second: Checkpoint) -> Found:
    """Return the largest difference of any number of two networks, and that of their last losses."""
    differences = [float((first.state[name].double() - second.state[name].double()).abs().max()) for name in first.state]
    return {
        "largest_difference_of_weights": max(differences),
        "difference_of_losses": abs(first.measured["loss"] - second.measured["loss"]),
    }


CHECK: dict[str, Callable[[Ground], Found]] = {
    "step": step,
    "augmentation": augmentation,
    "subspace": subspace,
    "dfr_head": dfr_head,
    **{name: poison(name) for name in FEW_STEPS},
    "resume": resume,
    "rerun": rerun,
    "graphs": graphs,
    "milliseconds": milliseconds,
}
