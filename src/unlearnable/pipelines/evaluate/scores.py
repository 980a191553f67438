"""Gather what was measured into scores and a table; no model is touched here."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from unlearnable.origin import versions

if TYPE_CHECKING:
    import pandas as pd

    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint

MADE_ON = "made_on."  # what columns begin with that say what a training was made on


def tabulate(**trainings: "Sequence[Checkpoint]") -> "pd.DataFrame":
    """Return one row an epoch: training, epoch (from 1), what was measured, and what the training was made on."""
    import pandas as pd

    last = {name: checkpoints[-1] for name, checkpoints in trainings.items()}
    rows = [
        {"training": name, "epoch": epoch, **measured, **{MADE_ON + fact: value for fact, value in each.made_on.items()}}
        for name, each in last.items()
        for epoch, measured in enumerate(each.history, start=1)
    ]
    return pd.DataFrame(rows)


def score(
    history: "pd.DataFrame", recovered: "LabelledImages", clean: "LabelledImages", poisoned: "LabelledImages", **cell: Any
) -> dict[str, Any]:
    """Return the scores of the cell: fractions in [0, 1]; seconds, thread counts and what it was made on of each training; versions."""
    trainings = dict(list(history.groupby("training", sort=False)))
    return {
        **cell,
        "accuracy": {name: _last_and_peak(rows["test_accuracy"]) | _held_out(rows) for name, rows in trainings.items()},
        **_projection(recovered, clean, poisoned),
        **_likeness(recovered, clean, poisoned),
        "seconds": {"recovery": recovered.seconds} | {name: float(rows["seconds"].sum()) for name, rows in trainings.items()},
        "threads": {name: sorted({int(count) for count in rows["threads"]}) for name, rows in trainings.items()},
        "made_on": {name: _made_on(rows) for name, rows in trainings.items()},
        "versions": versions(),
    }


def score_dfr(table: "pd.DataFrame", checkpoints: "Sequence[Checkpoint]", **cell: Any) -> dict[str, Any]:
    """Return the scores of deep feature reweighting.

    Args:
        table: of ``probes.reweight``.
        checkpoints: of the training that was probed.
        cell: dataset, poison, recovery, model and seed.

    Returns:
        the cell with ``dfr``: ``plain`` of the network's own head; and for each estimator and number of clean samples ``control``, the
        accuracy on the network before its first step, and epoch and accuracy ``last``, ``optimistic`` (the best on the test set, as
        the paper chooses) and ``held_out`` (the best on held-out clean images, the first of equals).
    """
    last = checkpoints[-1]
    found: dict[str, Any] = {"plain": _last_and_peak([measured["test_accuracy"] for measured in last.history])}
    for (estimator, count), rows in table.groupby(["estimator", "clean_samples"], sort=False):
        found.setdefault(str(estimator), {})[str(count)] = _chosen(rows.set_index("epoch"))
    return {
        **cell,
        "dfr": found,
        "seconds": {"probed": last.seconds, "dfr": float(table["seconds"].sum())},
        "threads": {"probed": last.threads},
        "made_on": {"probed": last.made_on},
        "versions": versions(),
    }


def score_separability(perturbations: dict[str, Any], clean: dict[str, Any], **cell: Any) -> dict[str, Any]:
    """Return the cell with ``separability``: what ``probes.separability`` found of perturbations and clean images, less the curves."""
    subjects = {"perturbations": perturbations, "clean": clean}
    return {
        **cell,
        "separability": {name: _without_curves(found) for name, found in subjects.items()},
        "seconds": {"separability": sum(model["seconds"] for model in perturbations["models"].values())},
        "versions": versions(),
    }


def _made_on(rows: "pd.DataFrame") -> dict[str, str]:
    """Return what a training was made on; nothing where its table does not say it yet."""
    last = rows.iloc[-1].dropna()
    return {name.removeprefix(MADE_ON): str(last[name]) for name in last.index if name.startswith(MADE_ON)}


def _chosen(rows: "pd.DataFrame") -> dict[str, Any]:
    """Return the control's accuracy, and epoch and accuracy of each choice among the checkpoints."""
    accuracy = rows["test_accuracy"]
    trained = rows[rows.index > 0]
    chosen = {"last": trained.index[-1], "optimistic": trained["test_accuracy"].idxmax(), "held_out": trained["held_out_accuracy"].idxmax()}
    epochs = {name: {"epoch": int(epoch), "accuracy": float(accuracy[epoch])} for name, epoch in chosen.items()}
    return {"control": float(accuracy[0]), **epochs}


def _without_curves(found: dict[str, Any]) -> dict[str, Any]:
    models = {name: {key: value for key, value in model.items() if key != "curve"} for name, model in found["models"].items()}
    return {key: value for key, value in found.items() if key != "recipe_hash"} | {"models": models}


def _projection(recovered: "LabelledImages", clean: "LabelledImages", poisoned: "LabelledImages") -> dict[str, dict[str, float]]:
    """Return the number of directions removed, and how much of the true perturbation they hold; nothing where none are removed."""
    if recovered.projection is None:
        return {}
    from unlearnable.metrics import captured_energy, mean_perturbations

    means = mean_perturbations(clean, poisoned).reshape(clean.num_classes, -1)
    energy = captured_energy(recovered.projection.basis, means)
    return {"projection": {"removed_directions": recovered.projection.removed_directions, "captured_energy": energy}}


def _likeness(recovered: "LabelledImages", clean: "LabelledImages", poisoned: "LabelledImages") -> dict[str, Any]:
    """Return how like their originals protected and recovered images are; nothing where the recovery left the images as they are."""
    import numpy as np

    from unlearnable.pipelines.perceptibility import likeness

    if recovered.projection is None and np.array_equal(recovered.images, poisoned.images):
        return {}
    return {"likeness": {"poisoned": likeness(clean, poisoned), "recovered": likeness(clean, recovered)}}


def _held_out(rows: "pd.DataFrame") -> dict[str, Any]:
    """Return epoch and test accuracy of the best on held-out clean images, the first of equals, where they were asked."""
    if "held_out_accuracy" not in rows or rows["held_out_accuracy"].isna().all():
        return {}
    best = int(rows["held_out_accuracy"].to_numpy().argmax())
    return {"held_out": {"epoch": int(rows["epoch"].iloc[best]), "accuracy": float(rows["test_accuracy"].iloc[best])}}


def _last_and_peak(accuracy: Iterable[float]) -> dict[str, float]:
    values = [float(value) for value in accuracy]
    return {"last": values[-1], "peak": max(values)}
