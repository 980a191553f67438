"""What an audit found, as numbers with their uncertainty and in plain words.

An accuracy on N test images is known as a share of N draws is: its interval is that of the posterior under a uniform prior (Beta), and so
is that of what is learned, (accuracy - chance) / (accuracy on the originals - chance), by draws from both posteriors. It covers the choice
of test images, not that of the network's first weights: another seed moves such accuracies too.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from unlearnable.images import LabelledImages
from unlearnable.seeds import numpy_generator

DRAWS = 20_000
INTERVAL = (0.025, 0.975)
LITTLE, MUCH = 0.2, 0.8  # of what the originals teach
Draws = npt.NDArray[np.float64]
WAYS = {"poisoned": "plain training", "recovered": "{recovery}", "second": "{second}"}


def audit_scores(
    histories: dict[str, list[dict[str, float]]],
    dfr: dict[str, float],
    seen: dict[str, Any],
    separability: dict[str, Any],
    test: LabelledImages,
    cell: dict[str, Any],
    second_recovery: str,
) -> dict[str, Any]:
    """Return the cell with ``audit``.

    Args:
        histories: of the trainings ``clean`` (on the originals), ``poisoned``, ``recovered`` and ``second``, an entry an epoch.
            A training that was measured on held-out images counts by its best epoch on these, as ``early_stopping`` says; others by
            their last.
        dfr: accuracy of a new head by the number of clean samples.
        seen: what ``perceptibility`` found.
        separability: of ``perturbations`` and ``clean`` images.
        test: what accuracies were measured on.
        cell: dataset, poison, recovery, model and seed, by name.
        second_recovery: the name of that which ``second`` was trained by.

    Returns:
        fractions; ``ways`` has for each way to learn its accuracy with its interval, and ``learned``, the share of what the originals
        teach, with its own (None where the originals are not known, or teach nothing).
    """
    names = {"recovery": cell["recovery"], "second": second_recovery}
    accuracy = {WAYS[name].format(**names): _chosen(histories[name]) for name in WAYS}
    accuracy |= {f"a new head on {int(count):,} clean images": value for count, value in dfr.items()}
    originals = bool(seen["changed"])
    reference = _chosen(histories["clean"]) if originals else None
    chance = float(np.bincount(test.labels).max() / len(test))
    ways = _ways(accuracy, reference, chance, len(test))
    found = {
        "test_images": len(test),
        "chance": chance,
        "originals": None
        if reference is None
        else {"accuracy": reference, "interval": _interval(_posterior(reference, len(test)), reference)},
        "ways": ways,
        "perceptibility": seen,
        "separability": {subject: _fits(models) for subject, models in separability.items()},
        "epochs": len(histories["poisoned"]),
        "seconds": sum(epoch["seconds"] for history in histories.values() for epoch in history),
    }
    return {**cell, "audit": found | {"verdict": verdict(ways, reference, chance)}}


def verdict(ways: dict[str, dict[str, Any]], reference: float | None, chance: float) -> str:
    """Return in a sentence or two whether the protection holds, and how sure that is."""
    if reference is None:
        best = max(ways, key=lambda name: ways[name]["accuracy"])
        return f"Without the originals there is nothing to compare with: the most that was learned is {_percent(ways[best])}, by {best}."
    if reference - chance < 0.1:
        return "The originals teach this network too little to tell: more images, more epochs or another network are needed."
    best = max(ways, key=lambda name: ways[name]["learned"])
    low, high = ways[best]["learned_interval"]
    plain = f"Plain training on the protected images learns {_share(ways['plain training'])} of what the originals teach"
    most = f"the best way tried, {best}, {_share(ways[best])}" if best != "plain training" else "and no other way tried learns more"
    return f"{_judged(low, high)} {plain}; {most}."


def _judged(low: float, high: float) -> str:
    if low >= MUCH:
        return "The protection does not hold."
    if high <= LITTLE:
        return "The protection held against everything that was tried here."
    if low > LITTLE and high < MUCH:
        return "The protection holds in part."
    doubt = (
        "fully, in part or not at all"
        if low <= LITTLE and high >= MUCH
        else "in part or not at all"
        if high >= MUCH
        else "in part or fully"
    )
    return f"How well the protection holds is not certain with so few test images: {doubt}."


def _ways(accuracy: dict[str, float], reference: float | None, chance: float, size: int) -> dict[str, dict[str, Any]]:
    most = None if reference is None else _posterior(reference, size, "originals") - chance
    found = {}
    for name, value in accuracy.items():
        draws = _posterior(value, size, name)
        share = None if reference is None or reference <= chance else (value - chance) / (reference - chance)
        learned = None if most is None else (draws - chance) / np.maximum(most, 1e-6)
        found[name] = {
            "accuracy": value,
            "interval": _interval(draws, value),
            "learned": share,
            "learned_interval": None if learned is None or share is None else _interval(learned, share),
        }
    return found


def _posterior(accuracy: float, size: int, name: str = "originals") -> Draws:
    """Return draws of the accuracy on all images, given that on ``size`` of them; the same ones every time."""
    right = round(accuracy * size)
    return numpy_generator(0, f"audit/{name}").beta(right + 1, size - right + 1, DRAWS)


def _interval(draws: Draws, value: float) -> list[float]:
    """Return where 95 % of the draws lie; if all or none of the images were right, the value is at its end."""
    low, high = np.quantile(draws, INTERVAL)
    return [min(float(low), value), max(float(high), value)]


def _chosen(history: list[dict[str, float]]) -> float:
    """Return the test accuracy of the first epoch that is best on held-out images, or of the last epoch where none were held out."""
    epoch = max(history, key=lambda measured: measured["held_out_accuracy"]) if "held_out_accuracy" in history[0] else history[-1]
    return float(epoch["test_accuracy"])


def _fits(found: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: fit[key] for key in ("train_accuracy", "held_out_accuracy", "ended")} for name, fit in found["models"].items()}


def _percent(way: dict[str, Any]) -> str:
    low, high = way["interval"]
    return f"{way['accuracy']:.0%} ({low:.0%} to {high:.0%})"


def _share(way: dict[str, Any]) -> str:
    low, high = (max(0.0, value) for value in way["learned_interval"])
    return f"{max(0.0, way['learned']):.0%} (between {low:.0%} and {high:.0%})"
