"""What an audit found, as numbers with their uncertainty and in plain words.

An accuracy on N test images is known as a share of N draws is: its interval is that of the posterior under a uniform prior (Beta), and so
is that of what is learned, (accuracy - chance) / (accuracy on the originals - chance), by draws from both posteriors. With one seed it
covers the choice of test images alone. With several, the posterior is that of the mean over seeds, and each draw of it is moved by a draw
of that mean's own error: Student's t times the sample's deviation over the root of the number of seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearnable.images import LabelledImages
from unlearnable.seeds import numpy_generator

DRAWS = 20_000
INTERVAL = (0.025, 0.975)
LITTLE, MUCH = 0.2, 0.8  # of what the originals teach
Draws = npt.NDArray[np.float64]
WAYS = {"poisoned": "plain training", "recovered": "{recovery}", "second": "{second}", "tuned": "{tuned}"}


def audit_scores(
    seeds: Sequence[dict[str, Any]],
    facts: dict[str, Any],
    separability: dict[str, Any],
    test: LabelledImages,
    cell: dict[str, Any],
    names: dict[str, str],
) -> dict[str, Any]:
    """Return the cell with ``audit``.

    Args:
        seeds: of each its ``seed``; ``accuracy`` of the trainings ``clean`` (on the originals), ``poisoned``, ``recovered`` and ``second``,
            maybe of ``tuned``; and ``dfr``, that of a new head by the number of clean samples.
        facts: ``perceptibility``, and more that the audit is to hold.
        separability: of ``perturbations`` and ``clean`` images.
        test: what accuracies were measured on.
        cell: dataset, poison, recovery, model and seed, by name.
        names: of the recoveries that ``recovery`` and ``second`` were trained by, and of the training ``tuned``.

    Returns:
        fractions; ``ways`` has for each way to learn its ``accuracy``, the mean over ``seeds``, with its interval, and ``learned``, the
        share of what the originals teach, with its own (None where the originals are not known, or teach nothing).
    """
    made = [name for name in WAYS if name in seeds[0]["accuracy"]]
    accuracy = {WAYS[name].format(**names): [each["accuracy"][name] for each in seeds] for name in made}
    accuracy |= {f"a new head on {int(count):,} clean images": [each["dfr"][count] for each in seeds] for count in seeds[0]["dfr"]}
    reference = [each["accuracy"]["clean"] for each in seeds] if facts["perceptibility"]["changed"] else None
    chance = float(np.bincount(test.labels).max() / len(test))
    ways = _ways(accuracy, reference, chance, len(test))
    found = {
        "test_images": len(test),
        "chance": chance,
        "seeds": [each["seed"] for each in seeds],
        "originals": None if reference is None else _known(reference, _posterior(reference, len(test))),
        "ways": ways,
        "separability": {subject: _fits(models) for subject, models in separability.items()},
        **facts,
    }
    return {**cell, "audit": found | {"verdict": verdict(ways, None if reference is None else float(np.mean(reference)), chance)}}


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


def _ways(accuracy: dict[str, list[float]], reference: list[float] | None, chance: float, size: int) -> dict[str, dict[str, Any]]:
    most = None if reference is None else _posterior(reference, size, "originals") - chance
    taught = 0.0 if reference is None else float(np.mean(reference)) - chance
    found = {}
    for name, values in accuracy.items():
        draws = _posterior(values, size, name)
        share = (float(np.mean(values)) - chance) / taught if taught > 0 else None
        learned = None if most is None else (draws - chance) / np.maximum(most, 1e-6)
        found[name] = _known(values, draws) | {
            "learned": share,
            "learned_interval": None if learned is None or share is None else _interval(learned, share),
        }
    return found


def _known(values: Sequence[float], draws: Draws) -> dict[str, Any]:
    """Return the mean accuracy over seeds, that of each seed, and the interval."""
    mean = float(np.mean(values))
    return {"accuracy": mean, "by_seed": list(values), "interval": _interval(draws, mean)}


def _posterior(values: Sequence[float], size: int, name: str = "originals") -> Draws:
    """Return draws of the accuracy on all images and over all seeds, given those on ``size`` images; the same ones every time."""
    right, generator = round(float(np.mean(values)) * size), numpy_generator(0, f"audit/{name}")
    draws = generator.beta(right + 1, size - right + 1, DRAWS)
    if len(values) > 1:
        error = float(np.std(values, ddof=1)) / len(values) ** 0.5
        draws = np.clip(draws + error * generator.standard_t(len(values) - 1, DRAWS), 0.0, 1.0)
    return draws


def _interval(draws: Draws, value: float) -> list[float]:
    """Return where 95 % of the draws lie; if all or none of the images were right, the value is at its end."""
    low, high = np.quantile(draws, INTERVAL)
    return [min(float(low), value), max(float(high), value)]


def _fits(found: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: fit[key] for key in ("train_accuracy", "held_out_accuracy", "ended")} for name, fit in found["models"].items()}


def _percent(way: dict[str, Any]) -> str:
    low, high = way["interval"]
    return f"{way['accuracy']:.0%} ({low:.0%} to {high:.0%})"


def _share(way: dict[str, Any]) -> str:
    """Return a share in words: a network that learns less than nothing learned nothing, and one that learns more than all learned all."""
    share, low, high = (min(1.0, max(0.0, value)) for value in (way["learned"], *way["learned_interval"]))
    return f"{share:.0%} (between {low:.0%} and {high:.0%})"
