"""Processes that write artifacts until they are killed, and what is found afterwards.

    python -m tests.faults.writers TRIALS FOLDER

Each trial forks a writer that saves one artifact after the other and says so, kills it at a random time (of every other
one after its first save, however busy the machine), and reads everything that is there.
Prints one JSON object with the sums over the trials of each of WRITERS.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from kedro.io import DatasetError, Version
from kedro.io.core import generate_timestamp

from tests.conftest import make_images
from unlearnable.artifacts.artifact import Artifact
from unlearnable.artifacts.atomic import TEMPORARIES, sweep
from unlearnable.artifacts.checkpoints import CheckpointsDataset
from unlearnable.artifacts.reports import JsonDataset, TableDataset
from unlearnable.artifacts.tensors import ImagesDataset, LinearWeightsDataset
from unlearnable.recoveries import LinearWeights
from unlearnable.training import Checkpoint

EPOCHS = 10_000
IMAGES = make_images(60, classes=3, side=32)


def checkpoint(number: int) -> Checkpoint:
    state = {"head.weight": torch.full((100, 300), float(number)), "count": torch.tensor(number)}
    history = [{"loss": float(epoch)} for epoch in range(1, number + 1)]
    return Checkpoint(epoch=number, epochs=EPOCHS, state=state, history=history, training={"steps_done": torch.tensor(number)})


def linear_weights(number: int) -> LinearWeights:
    weights = np.full((1, 10, 3072), number, np.float32)
    return LinearWeights(weights=weights, centre=weights[0, 0].copy(), train_accuracy=0.5)


# What saves, what it saves as the n-th, and the n in what was loaded.
WRITERS: dict[str, tuple[type[Artifact], Callable, Callable]] = {
    "images": (
        ImagesDataset,
        lambda n: IMAGES.subset(np.roll(np.arange(60), n)),
        lambda found: int(found.ids[0]) and 60 - int(found.ids[0]),
    ),
    "checkpoint": (CheckpointsDataset, checkpoint, lambda found: found[-1].epoch),
    "linear_weights": (LinearWeightsDataset, linear_weights, lambda found: int(found.weights[0, 0, 0])),
    "scores": (JsonDataset, lambda n: {"number": n, "rest": "x" * 5000}, lambda found: found["number"]),
    "table": (TableDataset, lambda n: pd.DataFrame({"number": np.full(10_000, n)}), lambda found: int(found["number"][9_999])),
}


def dataset(kind: type[Artifact], folder: Path, *, load: str | None = None) -> Artifact:
    return kind(filepath=str(folder / "thing"), recipe="abc", version=Version(load, generate_timestamp()))


def write(name: str, folder: Path, told: int) -> None:
    """Save without end, and tell of each save that returned."""
    kind, make, _ = WRITERS[name]
    target = dataset(kind, folder)
    for number in range(1, 60 if name == "images" else EPOCHS):
        target.save(make(number))
        os.write(told, number.to_bytes(4, "big"))
        if name != "checkpoint":  # a training's checkpoints are one version
            target = dataset(kind, folder)
    time.sleep(60)


def killed_writer(name: str, folder: Path, seconds: float, *, saved: bool) -> int:
    """Kill a writer after ``seconds``, counted from its first save or its start; return the number of the last save that it told of."""
    reads, told = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(reads)
        write(name, folder, told)
    os.close(told)
    with os.fdopen(reads, "rb") as pipe:
        first = pipe.read(4) if saved else b""
        time.sleep(seconds)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        return int.from_bytes((first + pipe.read())[-4:], "big")


def examine(name: str, folder: Path, acknowledged: int) -> dict[str, int]:
    """Return what is unreadable and what was lost, and whether the next run saves and loads."""
    kind, make, number_in = WRITERS[name]
    orphans = len(list(folder.rglob(TEMPORARIES)))
    swept = sweep(folder)
    unreadable = 0
    if name == "checkpoint":
        target = dataset(CheckpointsDataset, folder)
        found = target.to_go_on_from({})
        lost = acknowledged > 0 and found[-1].epoch < acknowledged
        unreadable += any(not torch.equal(c.state["head.weight"], checkpoint(c.epoch).state["head.weight"]) for c in found)
        target.release()
        after = dataset(kind, folder)
        for each in (*found, checkpoint(EPOCHS)):
            after.save(each)
    else:
        versions = dataset(kind, folder).list_versions(full_path=False) if folder.exists() else []
        numbers = [_number(dataset(kind, folder, load=version), number_in) for version in versions]
        unreadable += numbers.count(None)
        lost = acknowledged > 0 and not set(range(1, acknowledged + 1)) <= set(numbers)
        dataset(kind, folder).save(make(59))
    completes = number_in(dataset(kind, folder).load()) in (59, EPOCHS)
    left = len(list(folder.rglob(TEMPORARIES)))
    return {"unreadable": unreadable, "lost": int(lost), "orphans": orphans, "left": left + orphans - swept, "completes": int(completes)}


def _number(target: Artifact, number_in: Callable) -> int | None:
    try:
        return number_in(target.load())
    except DatasetError:
        return None


def kills(name: str, trials: int, root: Path) -> dict[str, int]:
    """Return the sums over all trials."""
    totals = {"trials": trials, "acknowledged": 0}
    for trial in range(trials):
        folder = root / str(trial)
        acknowledged = killed_writer(name, folder, random.Random(trial).uniform(0.0, 0.06), saved=trial % 2 == 1)  # noqa: S311
        totals["acknowledged"] += acknowledged
        for what, count in examine(name, folder, acknowledged).items():
            totals[what] = totals.get(what, 0) + count
    return totals


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: kills(name, int(sys.argv[1]), Path(sys.argv[2]) / name) for name in WRITERS}))  # noqa: T201
