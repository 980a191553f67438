"""What is learned from protected images anyway, how well they look, and the page that says it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unlearnable.origin import versions
from unlearnable.pipelines.reweighting import reweighted

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint


def reweight_last(
    checkpoints: "Sequence[Checkpoint]",
    clean_train: "LabelledImages",
    clean_test: "LabelledImages",
    model: str,
    settings: dict[str, Any],
    seed: int,
    device: str,
) -> dict[str, float]:
    """Return the test accuracy of a new head on the last checkpoint, by the number of clean samples that it was fitted to."""
    asked = settings | {"epochs": None, "estimators": ["frozen"]}
    rows = reweighted([checkpoints[-1]], clean_train, clean_test, model, asked, seed, device)
    return {str(row["clean_samples"]): float(row["test_accuracy"]) for row in rows if row["epoch"] > 0}


def measure(clean: "LabelledImages", poisoned: "LabelledImages") -> dict[str, Any]:
    """Return how much of the protection can be seen."""
    from unlearnable.pipelines.audit.perceptibility import perceptibility

    return perceptibility(clean, poisoned)


def score(
    dfr: dict[str, float],
    seen: dict[str, Any],
    perturbations: dict[str, Any],
    images: dict[str, Any],
    test: "LabelledImages",
    second_recovery: str,
    **more: Any,
) -> dict[str, Any]:
    """Return the scores of the audit, with its verdict; ``more`` has the checkpoints of the trainings, and the names of the cell."""
    from unlearnable.pipelines.audit.verdict import audit_scores

    last = {name: more.pop(name)[-1] for name in ("clean", "poisoned", "recovered", "second")}
    histories = {name: each.history for name, each in last.items()}
    found = audit_scores(histories, dfr, seen, {"perturbations": perturbations, "clean": images}, test, more, second_recovery)
    return found | {"made_on": {name: each.made_on for name, each in last.items()}, "versions": versions()}


def write(scores: dict[str, Any], examples: "Path") -> str:
    """Return the page."""
    from unlearnable.reporting.audit import page

    return page(scores, examples.read_bytes())
