"""What is learned from protected images anyway, how well they look, whether they look protected, and the page that says it."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnable.origin import versions
from unlearnable.pipelines.audit.repeats import chosen, new_heads, repeated, tuned_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from unlearnable.images import LabelledImages

SETS = ("clean", "poisoned", "recovered", "second")
TRAININGS = (*SETS, "tuned")  # the last on the poisoned set
reweight_last = new_heads


def measure(clean: "LabelledImages", poisoned: "LabelledImages") -> dict[str, Any]:
    """Return how much of the protection can be seen."""
    from unlearnable.pipelines.perceptibility import perceptibility

    return perceptibility(clean, poisoned)


def detect(poisoned: "LabelledImages", seed: int, device: str) -> dict[str, Any]:
    """Return whether the images look protected, asked of them alone."""
    from unlearnable.probes import detection
    from unlearnable.training.device import choose_device

    return detection.detect(poisoned, seed=seed, device=choose_device(device))


def repeat(
    test: "LabelledImages",
    recover: dict[str, Any],
    recovery: str,
    second_recovery: str,
    recipe: dict[str, Any],
    tuned_recipe: dict[str, Any],
    seeds: int,
    seed: int,
    **more: Any,
) -> dict[str, Any]:
    """Return ``seeds``, what all trainings reach with each seed after the first; ``more`` has their sets, and what ``repeated`` takes."""
    sets = {name: more.pop(name) for name in SETS}
    if tuned_recipe != recipe:
        sets["tuned"] = sets["poisoned"]
    recipes = dict.fromkeys(sets, recipe) | {"tuned": tuned_recipe}
    recoveries = {"recovered": recovery, "second": second_recovery}
    return {"seeds": [repeated(sets, test, recoveries, recover, recipes, seed=seed + further, **more) for further in range(1, seeds)]}


def score(
    dfr: dict[str, float],
    repeats: dict[str, Any],
    seen: dict[str, Any],
    perturbations: dict[str, Any],
    images: dict[str, Any],
    detection: dict[str, Any],
    test: "LabelledImages",
    second_recovery: str,
    recipe: dict[str, Any],
    tuned_recipe: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Return the scores of the audit, with its verdict; ``more`` has the checkpoints of the trainings, and the names of the cell."""
    from unlearnable.pipelines.audit.verdict import audit_scores

    last = {name: more.pop(name)[-1] for name in TRAININGS}
    if tuned_recipe == recipe:
        del last["tuned"]  # it is the plain training
    names = {"recovery": more["recovery"], "second": second_recovery, "tuned": tuned_by(tuned_recipe)}
    first = {"seed": more["seed"], "accuracy": {name: chosen(each.history) for name, each in last.items()}, "dfr": dfr}
    facts = {
        "epochs": len(last["poisoned"].history),
        "seconds": sum(each.seconds for each in last.values()),
        "perceptibility": seen,
        "detection": detection,
    }
    found = audit_scores([first, *repeats["seeds"]], facts, {"perturbations": perturbations, "clean": images}, test, more, names)
    program = Path(sys.argv[0]).name.replace("__main__.py", "unlearnable")  # of python -m unlearnable
    made = {"on": datetime.now(UTC).date().isoformat(), "command": " ".join([program, *sys.argv[1:]])}
    return found | {"made": made, "made_on": {name: each.made_on for name, each in last.items()}, "versions": versions()}


def draw_compared(original: "LabelledImages", protected: "LabelledImages", recovered: "LabelledImages", **cell: Any) -> "Figure":
    """Return the picture of one image a class: original, protected, their difference, recovered."""
    from unlearnable.reporting.cell import compared_figure

    return compared_figure(original, protected, recovered, cell)


def write(scores: dict[str, Any], examples: "Path") -> str:
    """Return the page."""
    from unlearnable.reporting.audit import page

    return page(scores, examples.read_bytes())
