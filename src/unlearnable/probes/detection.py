"""Whether a set of images is protected at all, decided from the images alone: the originals are not needed.

Zhu, Yu and Gao, "Detection and Defense of Unlearnable Examples" (AAAI 2024). A simple model is fitted to four fifths of a set. If it is
right about the last fifth, it has learned a shortcut, because natural images are not that simple (their Algorithm 1). A network trained
on images shifted by a constant recognises unshifted ones only by a shortcut (Algorithm 2). They fit to 40,000 images for 100 epochs, and
call a set protected if the accuracy is above 0.7. We use only 1,000 images, so the thresholds are our own: benchmarks/detection.py
measures what they catch and how often they give a false alarm. The autoregressive filters (``probes.filters``) are a further detector.

A set that is easy in itself, such as digits on black, looks protected, and so does a set of two classes instead of ten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.models import build
from unlearnable.probes.filters import detected, estimated_filters
from unlearnable.probes.softmax import Values, fit_softmax
from unlearnable.seeds import Draws, derive, numpy_generator
from unlearnable.training import Method, Network, Trainer, TrainingRecipe, fit, normalisation_of
from unlearnable.training.pixels import seen

ASKED = 1_000  # images at most; the thresholds were set for this many
FEWEST = 10  # with fewer images, chance decides
HELD_OUT = 0.2
ITERATIONS = 50  # of L-BFGS; with more, the model memorises single images
L2 = 1e-3
HIDDEN = 30  # units of the small network, as in the separability probe
SHIFT = -0.5  # added to every pixel; the paper uses both signs
SHIFTED = TrainingRecipe(epochs=5, batch_size=25, learning_rate=0.05, warmup=0.1)
MIDDLE = 127.5  # of the range of a byte


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """The input of a detector: images to fit to, held-out images to classify, a seed and a device."""

    fitted: LabelledImages
    held_out: LabelledImages
    seed: int
    device: torch.device


Detector = Callable[[Asked], Tensor]  # -> predicted classes (n,) of the held-out images


def detect(images: LabelledImages, *, seed: int, device: torch.device) -> dict[str, Any]:
    """Return whether images look protected to each detector.

    Args:
        images: at least 10; if there are more than 1,000, 1,000 are drawn at random. No originals are needed.
        seed: of the draw, the split and the initial weights.
        device: where to compute.

    Returns:
        ``images``, the number fitted to; ``held_out``, the number held out; ``classes``; ``alarms``, the names of the detectors that
        gave an alarm; and ``detectors``, which has for each of DETECTORS the ``accuracy`` on held-out images, ``shuffled`` (the expected
        accuracy of the same predictions with shuffled labels), ``score`` (Cohen's kappa of the two, in [-1, 1]), ``threshold``, and
        ``alarm`` (whether the score is above the threshold).

    Raises:
        InputError: there are fewer than 10 images.
    """
    if len(images) < FEWEST:
        raise InputError(f"detection: expected at least {FEWEST} images, got {len(images)}")
    order = numpy_generator(seed, "probe/detection").permutation(len(images))[:ASKED]
    held_out, fitted = (images.subset(np.sort(part)) for part in np.split(order, [int(HELD_OUT * len(order))]))
    asked = Asked(fitted=fitted, held_out=held_out, seed=seed, device=device)
    found = {name: _judged(detector(asked), held_out, THRESHOLDS[name]) for name, detector in DETECTORS.items()}
    alarms = [name for name, each in found.items() if each["alarm"]]
    sizes = {"images": len(fitted), "held_out": len(held_out), "classes": images.num_classes}
    return sizes | {"detectors": found, "alarms": alarms}


def _judged(predicted: Tensor, held_out: LabelledImages, threshold: float) -> dict[str, Any]:
    """Return how far the accuracy is above that with shuffled labels, as a share of the largest possible difference."""
    answers = predicted.cpu().numpy()
    right = float((answers == held_out.labels).mean())
    shares = (np.bincount(labels, minlength=held_out.num_classes) / len(held_out) for labels in (answers, held_out.labels))
    shuffled = float(np.prod(list(shares), axis=0).sum())
    score = (right - shuffled) / (1 - shuffled) if shuffled < 1 else 0.0
    return {"accuracy": right, "shuffled": shuffled, "score": score, "threshold": threshold, "alarm": score > threshold}


def _by_softmax(hidden: tuple[int, ...]) -> Detector:
    def ask(asked: Asked) -> Tensor:
        """Fit softmax regression, or a tanh network, to the pixels (Algorithm 1)."""
        fitted, held_out = (_values(images, asked.device) for images in (asked.fitted, asked.held_out))
        return fit_softmax(fitted, hidden=hidden, iterations=ITERATIONS, l2=L2, seed=asked.seed).predicted(held_out)

    return ask


def _values(images: LabelledImages, device: torch.device) -> Values:
    rows, labels = (torch.from_numpy(each).to(device) for each in (images.images, images.labels))
    return Values(rows=rows.flatten(1), labels=labels, num_classes=images.num_classes, shift=MIDDLE, scale=1 / 255)


def _by_filters(asked: Asked) -> Tensor:
    """Estimate each class's filters from its images; an image belongs to the class whose filters respond least."""
    images, labels, others = (torch.from_numpy(each).to(asked.device) for each in _arrays(asked))
    return detected(others, estimated_filters(images, labels, asked.fitted.num_classes))


def _arrays(asked: Asked) -> tuple[Any, Any, Any]:
    return asked.fitted.images, asked.fitted.labels, asked.held_out.images


def _by_shift(asked: Asked) -> Tensor:
    """Train a small convolutional network on darkened images, and let it classify the unchanged ones (Algorithm 2)."""
    fitted, recipe = asked.fitted, SHIFTED
    normalisation = normalisation_of(fitted, recipe)
    model = build("tiny_cnn", shape=fitted.shape, num_classes=fitted.num_classes, seed=derive(asked.seed, "probe/detection"))
    rest: Any = {"recipe": recipe, "normalisation": normalisation, "seed": asked.seed, "device": asked.device, "resumable": False}
    for _ in fit(model, fitted, asked.held_out, method=Method(loss=_shifted_loss), **rest):
        pass
    network = Network(model, normalisation, asked.device, recipe.precision)
    return network.logits(seen(asked.held_out, asked.device)).argmax(1)


def _shifted_loss(trainer: Trainer, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:  # noqa: ARG001
    return trainer.cross_entropy(trainer.forward(images + SHIFT), labels)


DETECTORS: dict[str, Detector] = {
    "linear": _by_softmax(()),
    "two_layer": _by_softmax((HIDDEN,)),
    "filters": _by_filters,
    "shifted": _by_shift,
}
# The largest score of clean sets (CIFAR-10 and the built-in images, three seeds each) plus 0.1, rounded up to the next 0.05.
THRESHOLDS = {"linear": 0.35, "two_layer": 0.35, "filters": 0.35, "shifted": 0.2}
