"""Scores of a cell and the table of its epochs."""

import platform
from importlib.metadata import version
from typing import Any

import pandas as pd

from unlearnable.images import LabelledImages
from unlearnable.metrics import captured_energy, mean_perturbations
from unlearnable.recoveries import LinearWeights

PACKAGES = ("kedro", "mlflow", "numpy", "scikit-learn", "torch", "torchvision")


def history_table(histories: dict[str, list[dict[str, float]]]) -> pd.DataFrame:
    """Return one row an epoch: training, epoch (from 1) and what was measured."""
    rows = [
        {"training": name, "epoch": epoch, **measured}
        for name, history in histories.items()
        for epoch, measured in enumerate(history, start=1)
    ]
    return pd.DataFrame(rows)


def scores(
    history: pd.DataFrame, linear: LinearWeights, clean: LabelledImages, poisoned: LabelledImages, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Return the scores of the cell: fractions in [0, 1], seconds and thread counts of each training, versions."""
    trainings = dict(list(history.groupby("training", sort=False)))
    return {
        **{name: parameters[name] for name in ("dataset", "poison", "recovery", "model", "seed")},
        "accuracy": {name: _last_and_peak(rows["test_accuracy"]) for name, rows in trainings.items()},
        "orthogonal_projection": _projection(linear, clean, poisoned),
        "seconds": {name: float(rows["seconds"].sum()) for name, rows in trainings.items()},
        "threads": {name: sorted({int(count) for count in rows["threads"]}) for name, rows in trainings.items()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def _projection(linear: LinearWeights, clean: LabelledImages, poisoned: LabelledImages) -> dict[str, float]:
    """Return the number of directions removed and, where a model was fitted, how much of the true perturbation they hold."""
    removed: dict[str, float] = {"removed_directions": linear.projection.removed_directions}
    if not len(linear.weights):
        return removed
    means = mean_perturbations(clean, poisoned).reshape(clean.num_classes, -1)
    return removed | {"captured_energy": captured_energy(linear.projection.basis, means), "train_accuracy": linear.train_accuracy}


def _last_and_peak(accuracy: pd.Series) -> dict[str, float]:
    return {"last": float(accuracy.iloc[-1]), "peak": float(accuracy.max())}
