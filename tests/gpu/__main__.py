"""Compute on the pretended GPU what a real one would be given, beside the same on the CPU, and print what was seen as JSON.

Its device is registered for the whole process, so a test calls this: ``python -m tests.gpu``.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tests.conftest import make_images
from tests.gpu.pretended import GPU, PretendedGpu
from tests.poisons.test_battery import BUDGETS
from tests.recoveries.test_battery import settings_of
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.poisons import POISONS, Crafting, craft
from unlearnable.probes import ReweightingRecipe, SeparabilityRecipe, perturbations, reweight, separability
from unlearnable.recoveries import RECOVERIES, Recovery, recover, recovery_named
from unlearnable.training import PLAIN, Augmentation, Checkpoint, Method, SimCLR, Trainer, TrainingRecipe, fit
from unlearnable.training.pixels import resident
from unlearnable.training.trainer import plain_loss

CPU = torch.device("cpu")
IMAGES = make_images(48, classes=4, side=16)
ORIGINALS = replace(IMAGES, images=IMAGES.images - IMAGES.images // 8)
FEW = make_images(28, classes=4, side=16)
CROP_AND_FLIP = Augmentation(crop=2, flip=True)
PUBLISHED = replace(
    CROP_AND_FLIP,
    rotation=10,
    shear=10,
    scale=0.2,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    clip_jitter=True,
    shuffle_jitter=True,
)
EVERYTHING = replace(PUBLISHED, hue=0.1, resized_crop=0.5, cutmix=0.5)
RECIPE = TrainingRecipe(epochs=2, batch_size=20, learning_rate=0.05, precision="float32", augmentation=EVERYTHING)
ADAM = replace(RECIPE, optimiser="adam", learning_rate=1e-3, gradient_clip=1.0)
MUON = replace(RECIPE, muon=0.1)
STEPS = 3, 5  # of two epochs, whose difference is that of their steps


PRETRAINED = replace(RECIPE, epochs=1, pretraining="simclr", simclr=SimCLR(epochs=2, batch_size=20, learning_rate=0.05, width=4))
ALTERNATING = replace(RECIPE, schedule="linear", augmentation=replace(CROP_AND_FLIP, alternate_flip=True))


def trained(
    device: torch.device, name: str = "none", recipe: TrainingRecipe = RECIPE, done: int = 0, network: str = "tiny_cnn"
) -> list[Checkpoint]:
    """Return the checkpoints of a training, or of one that goes on after ``done`` epochs."""
    settings = settings_of(name, IMAGES)
    recovery = recovery_named(name, settings)
    recovered = recover(name, IMAGES, clean=ORIGINALS, seed=0, device=device, settings=settings)

    def run(before: list[Checkpoint]) -> list[Checkpoint]:
        model = build(network, shape=IMAGES.shape, num_classes=4, seed=0)
        options: dict[str, Any] = {"recipe": recipe, "normalisation": channel_statistics(IMAGES), "seed": 0, "device": device}
        test, method = recovery.test(IMAGES, recovered), recovery.method(IMAGES, seed=0)
        return list(fit(model, recovered, test, **options, done=before, method=method))

    return run(run([])[:done]) if done else run([])


def outcome(checkpoints: list[Checkpoint]) -> list[object]:
    """Return the losses and a hash of the weights."""
    last = checkpoints[-1]
    weights = b"".join(value.numpy().tobytes() for value in last.state.values())
    return [[measured["loss"] for measured in last.history], hashlib.sha256(weights).hexdigest()]


def trained_once(device: torch.device, name: str) -> list[object]:
    """Return the loss and a hash of the weights after an epoch with a recovery that changes the training."""
    return outcome(trained(device, name, replace(RECIPE, epochs=1)))


def changed(device: torch.device, name: str) -> list[object]:
    """Return a hash of the images as a recovery that changes nothing else leaves them."""
    recovered = recover(name, IMAGES, clean=ORIGINALS, seed=0, device=device, settings=settings_of(name, IMAGES))
    return [hashlib.sha256(resident(recovered, CPU).numpy().tobytes()).hexdigest()]


def crafted(device: torch.device, name: str) -> list[object]:
    """Return a hash of the poisoned images; surrogates compute in float32, as the pretended GPU does."""
    settings = dict(BUDGETS[name][0])
    if "surrogate" in settings:
        settings["surrogate"] = settings["surrogate"] | {"precision": "float32"}
    poisoned = craft(name, FEW, Crafting(seed=0, device=device), settings=settings)
    return [hashlib.sha256(poisoned.images.tobytes()).hexdigest()]


def reweighted(device: torch.device) -> list[object]:
    """Return what new heads reach, by the estimators that take no minutes."""
    recipe = ReweightingRecipe(clean_samples=20, held_out=8, estimators=["frozen", "recalibrated"], epochs=[2])
    options: dict[str, Any] = {"model": "tiny_cnn", "training": RECIPE, "recipe": recipe, "seed": 0, "device": device}
    rows = reweight(trained(device), IMAGES, IMAGES, **options)
    return [[row["test_accuracy"], row["train_accuracy"]] for row in rows]


def separated(device: torch.device) -> list[object]:
    """Return what the models of separability reach."""
    poisoned = craft("regions_4", IMAGES, Crafting(), settings={"linf": 8 / 255})
    recipe = SeparabilityRecipe(iterations=3)
    values, labels = perturbations(IMAGES, poisoned), torch.from_numpy(IMAGES.labels)
    found = separability(values, labels, num_classes=4, recipe=recipe, device=device)
    return [model["train_accuracy"] for model in found["models"].values()]


def cases() -> Iterable[tuple[str, Callable[[torch.device], list[object]]]]:
    """Yield a name and a function of the device for all that is computed on it."""
    for name, kind in RECOVERIES.items():
        yield f"recovery {name}", partial(changed if kind.method is Recovery.method else trained_once, name=name)
    for optimiser, recipe in (("sgd", RECIPE), ("adam", ADAM), ("muon", MUON)):
        yield f"resumed with {optimiser}", lambda device, recipe=recipe: outcome(trained(device, recipe=recipe, done=1))
    yield "resumed fast_cnn", lambda device: outcome(trained(device, recipe=ALTERNATING, done=1, network="fast_cnn"))
    yield "resumed in a pretraining", lambda device: outcome(trained(device, recipe=PRETRAINED, done=1))
    for name in POISONS:
        yield f"poison {name}", partial(crafted, name=name)
    yield "deep feature reweighting", reweighted
    yield "separability", separated


def counted(augmentation: Augmentation, method: Method = PLAIN, bare: bool = False) -> dict[str, Any]:
    """Return waits and kernels of one step on the pretended GPU, and where the waits are; a bare one has no images to look up."""
    totals = []
    for steps in STEPS:
        recipe = TrainingRecipe(epochs=1, batch_size=8, learning_rate=0.05, precision="float32", augmentation=augmentation)
        with PretendedGpu() as gpu:
            trainer = Trainer(
                build("tiny_cnn", shape=IMAGES.shape, num_classes=4, seed=0), recipe, channel_statistics(IMAGES), GPU, method=method
            )
            pixels, labels = resident(IMAGES, GPU)[: 8 * steps], torch.from_numpy(IMAGES.labels).to(GPU)[: 8 * steps]
            floats = pixels[:8].float()
            if bare:
                for _ in range(steps):
                    trainer.step(floats, labels[:8], torch.Generator())
            else:
                trainer.epoch(pixels, labels, torch.Generator(), lambda done, total: None)
        totals.append(gpu)
    few, many = totals
    between = STEPS[1] - STEPS[0]
    waits = {place: (many.waits[place] - few.waits[place]) / between for place in many.waits if many.waits[place] > few.waits[place]}
    return {"waits": sum(waits.values()), "kernels": (many.kernels.total() - few.kernels.total()) / between, "places": waits}


def careless() -> dict[str, Method]:
    """Return losses as a careless change would write them."""

    def asks(trainer: Trainer, images: torch.Tensor, labels: torch.Tensor, shared: Any, own: Any) -> torch.Tensor:
        return plain_loss(trainer, images * float((images.max() > 0).cpu()), labels, shared, own)

    def sends(trainer: Trainer, images: torch.Tensor, labels: torch.Tensor, shared: Any, own: Any) -> torch.Tensor:
        return plain_loss(trainer, images + torch.zeros(8, 1, 1, 1).to(images.device), labels, shared, own)

    def chooses(trainer: Trainer, images: torch.Tensor, labels: torch.Tensor, shared: Any, own: Any) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) > 0
        return plain_loss(trainer, images[bright], labels[bright], shared, own)

    def mixes(trainer: Trainer, images: torch.Tensor, labels: torch.Tensor, shared: Any, own: Any) -> torch.Tensor:
        return plain_loss(trainer, images + torch.zeros(8, 1, 1, 1), labels, shared, own)

    def one_by_one(trainer: Trainer, images: torch.Tensor, labels: torch.Tensor, shared: Any, own: Any) -> torch.Tensor:
        return plain_loss(trainer, torch.stack([image + 0 for image in images]), labels, shared, own)

    losses = {"none": plain_loss, "asks": asks, "sends": sends, "chooses": chooses, "mixes": mixes, "one by one": one_by_one}
    return {name: Method(loss=loss) for name, loss in losses.items()}


def faults_of(method: Method) -> list[str]:
    """Return what the pretended GPU refuses of a loss."""
    with PretendedGpu() as gpu:
        trainer = Trainer(
            build("tiny_cnn", shape=IMAGES.shape, num_classes=4, seed=0), RECIPE, channel_statistics(IMAGES), GPU, method=method
        )
        trainer.step(resident(IMAGES, GPU)[:8].float(), torch.from_numpy(IMAGES.labels[:8]).to(GPU), torch.Generator())
    return list(gpu.faults)


def main() -> None:
    """Print all that was seen."""
    torch.set_num_threads(1)
    same, faults = {}, {}
    for name, function in cases():
        expected = function(CPU)
        with PretendedGpu() as gpu:
            same[name] = function(GPU) == expected
        faults[name] = list(gpu.faults)
    recoveries = {name: recovery_named(name, {}).method(IMAGES, seed=0) for name in ("randaugment", "ueraser_lite", "ueraser_max")}
    steps = {"bare": counted(Augmentation(), bare=True), "plain": counted(CROP_AND_FLIP), "published": counted(PUBLISHED)}
    steps |= {name: counted(Augmentation(), method) for name, method in recoveries.items()}
    twins = {name: {**counted(Augmentation(), method), "faults": faults_of(method)} for name, method in careless().items()}
    sys.stdout.write(json.dumps({"same": same, "faults": faults, "steps": steps, "twins": twins}))


if __name__ == "__main__":
    main()
