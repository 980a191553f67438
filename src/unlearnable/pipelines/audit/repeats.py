"""The trainings of an audit again, with further seeds."""

from typing import TYPE_CHECKING, Any

from unlearnable.config.recipe import NONE
from unlearnable.pipelines.reweighting import reweighted
from unlearnable.pipelines.training import trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint


def chosen(history: "Sequence[dict[str, float]]") -> float:
    """Return the test accuracy of the first epoch that is best on held-out images, or of the last epoch where none were held out."""
    epoch = max(history, key=lambda measured: measured["held_out_accuracy"]) if "held_out_accuracy" in history[0] else history[-1]
    return float(epoch["test_accuracy"])


def tuned_by(recipe: dict[str, Any]) -> str:
    """Return what a training by ``audit.train`` is called on the page."""
    return "plain training by audit.train" if recipe.get("weights") is None else "fine-tuning a pretrained network"


def new_heads(
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


def repeated(
    sets: "dict[str, LabelledImages]",
    test: "LabelledImages",
    recoveries: dict[str, str],
    settings: dict[str, Any],
    recipes: dict[str, dict[str, Any]],
    *,
    model: str,
    probe: dict[str, Any],
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Return what the trainings of an audit and its new heads reach with another seed: ``accuracy`` by training, and ``dfr`` by count.

    Args:
        sets: what each training is on, by its name; ``clean`` and ``poisoned`` are among them.
        test: what accuracies are measured on.
        recoveries: the name of the recovery of each training that has one.
        settings: the block ``recover``.
        recipes: by the name of each training.
        model: the name of the network.
        probe: the block ``probe``.
        seed: of first weights, order, augmentation and new heads; the sets stay as they are.
        device: where.
    """
    accuracy, heads = {}, {}
    for name, images in sets.items():
        recovery = recoveries.get(name, NONE)
        shared = (images, sets["clean"], test, model, recipes[name], seed, device, recovery, settings)
        *_, last = trained(*shared, label=f"{name} (seed {seed})")
        accuracy[name] = chosen(last.history)
        if name == "poisoned":
            heads = new_heads([last], sets["clean"], test, model, probe, seed, device)
    return {"seed": seed, "accuracy": accuracy, "dfr": heads}
