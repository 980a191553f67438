"""Scores of a cell and the table of its epochs."""

import platform
from importlib.metadata import version
from typing import Any

import pandas as pd

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


def scores(history: pd.DataFrame, linear: LinearWeights, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of the cell: fractions in [0, 1], seconds of each training, versions of what made them."""
    trainings = dict(list(history.groupby("training", sort=False)))
    fitted = {"train_accuracy": linear.train_accuracy} if len(linear.weights) else {}
    return {
        **{name: parameters[name] for name in ("dataset", "poison", "recovery", "model", "seed")},
        "accuracy": {name: _last_and_peak(rows["test_accuracy"]) for name, rows in trainings.items()},
        "orthogonal_projection": {"removed_directions": linear.projection.removed_directions, **fitted},
        "seconds": {name: float(rows["seconds"].sum()) for name, rows in trainings.items()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def _last_and_peak(accuracy: pd.Series) -> dict[str, float]:
    return {"last": float(accuracy.iloc[-1]), "peak": float(accuracy.max())}
