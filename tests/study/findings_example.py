"""Findings of a study that never ran: made-up numbers, in the shape and the size of real ones."""

import io
import json
import zlib
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from tests.conftest import ROOT
from unlearnable.reporting.findings import Findings

POISONED = {"none": 0.78, "lsp": 0.29, "ops": 0.10, "ar": 0.13, "em_samplewise": 0.21, "tap": 0.07}
REGAINED = {  # share of what the poison takes
    "none": 0.0,
    "orthogonal_projection": 0.85,
    "grayscale": 0.35,
    "jpeg": 0.8,
    "gaussian_blur": 0.15,
    "cutmix": 0.3,
    "adversarial_training": 0.7,
}
RECOVERING = {"orthogonal_projection": 4.1, "jpeg": 9.3, "gaussian_blur": 0.6, "grayscale": 0.2}  # seconds
TRAINING = {"adversarial_training": 612.0, "cutmix": 81.0}
SEEDS = (0, 1, 2)
VERSIONS = {"python": "3.11.2", "kedro": "1.7.0", "mlflow": "3.17.2", "numpy": "2.4.1", "scikit-learn": "1.9.1", "torch": "2.15.0"}
COMMIT = "7d0e473a0c5e"


def example(**changes: Any) -> Findings:
    """Return findings of 6 poisons x 7 recoveries x 3 seeds, five cells of which did not finish, or with these ``changes``."""
    parts = {name: part.copy() if isinstance(part, pd.DataFrame) else part for name, part in _parts().items()}
    return Findings(**(parts | changes))


@cache
def _parts() -> dict[str, Any]:
    cells = _cells()
    lost = cells["poison"].eq("tap") & (
        cells["recovery"].eq("adversarial_training") | (cells["recovery"].eq("cutmix") & cells["seed"].gt(0))
    )
    return {
        "name": "poisons-by-recoveries",
        "description": "Which recoveries give back what which poisons take, on 10,000 images of CIFAR-10 with a small network?",
        "cells": cells[~lost],
        "unfinished": _unfinished(cells[lost]),
        "dfr": _dfr(),
        "separability": _separability(),
        "pictures": {f"One image of each class: clean, {name}, recovered": picture(name) for name in ("lsp", "ops", "ar")},
        "made": "2026-11-25T09:30:00+00:00",
    }


def nothing(table: str) -> pd.DataFrame:
    """Return ``table`` of the example without its rows."""
    return _parts()[table].iloc[:0].copy()


def cell(**changes: Any) -> dict[str, Any]:
    """Return a row of ``cells``."""
    row = {"dataset": "cifar10", "poison": "none", "recovery": "none", "override": "", "model": "resnet18", "seed": 0}
    row |= {"recipe_hash": "5c8e20d1b7f4", "score_hash": "a91b33ce0d27", "accuracy_clean": 0.8, "accuracy_poisoned": 0.8, "accuracy": 0.8}
    row |= {"peak": 0.8, "seconds_recovery": 0.0, "seconds_training": 10.0, "threads": "1", "commit": COMMIT, "run_url": ""}
    row |= {"recipe": json.dumps({"ingest": {"train_size": None}}), "versions": json.dumps(VERSIONS)}
    return row | changes


def few(*rows: dict[str, Any], **changes: Any) -> Findings:
    """Return findings of these cells and nothing else."""
    empty = {name: nothing(name) for name in ("unfinished", "dfr", "separability")}
    return example(**{"cells": pd.DataFrame(list(rows)), "pictures": {}, **empty, **changes})


@cache
def picture(name: str) -> bytes:
    """Return a PNG with ten coloured squares in three rows."""
    colours = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (3, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours.repeat(48, 0).repeat(48, 1)).save(buffer, format="png")
    return buffer.getvalue()


def _cells() -> pd.DataFrame:
    parameters = _parameters()
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            _cell(poison, recovery, seed, rng, parameters)
            for poison in reversed(POISONED)  # the control last: the page puts it first
            for recovery in REGAINED
            for seed in SEEDS
        ]
    )


def _cell(poison: str, recovery: str, seed: int, rng: np.random.Generator, parameters: dict[str, Any]) -> dict[str, Any]:
    clean, poisoned = POISONED["none"], POISONED[poison]
    accuracy = poisoned + (clean - poisoned) * REGAINED[recovery] - 0.02 * (recovery != "none") + rng.normal(0, 0.008)
    run = zlib.crc32(f"{poison} {recovery} {seed}".encode())
    named = {"poison": poison, "recovery": recovery, "model": "small_cnn", "seed": seed}
    return cell(
        **named,
        recipe_hash=f"{run:08x}{run // 7:08x}",
        score_hash=f"{run // 3:08x}{run // 11:08x}",
        accuracy_clean=clean + rng.normal(0, 0.005),
        accuracy_poisoned=poisoned + rng.normal(0, 0.005),
        accuracy=accuracy,
        peak=accuracy + abs(rng.normal(0, 0.02)),
        seconds_recovery=RECOVERING.get(recovery, 0.0) * rng.uniform(0.9, 1.1),
        seconds_training=TRAINING.get(recovery, 77.0) * rng.uniform(0.95, 1.05),
        run_url=f"http://127.0.0.1:5000/#/experiments/1/runs/{run:032x}",
        recipe=json.dumps({"dataset": "cifar10", **named, **_used(parameters, poison, recovery)}),
    )


def _used(parameters: dict[str, Any], poison: str, recovery: str) -> dict[str, Any]:
    """Return parameters without the settings of other poisons and recoveries."""
    chosen = {"craft": poison, "recover": recovery}
    return parameters | {stage: {name: parameters[stage].get(name, {})} for stage, name in chosen.items()}


def _parameters() -> dict[str, Any]:
    """Return the parameters of the built-in environment, on 10,000 images."""
    files = sorted((ROOT / "conf" / "base").glob("parameters_*.yml"))
    found = {name: value for file in files for name, value in yaml.safe_load(file.read_text()).items()}
    return found | {"ingest": {"train_size": 10_000, "test_size": 2_000}}


def _unfinished(cells: pd.DataFrame) -> pd.DataFrame:
    rows = cells[["dataset", "poison", "recovery", "override", "model", "seed"]].reset_index(drop=True)
    memory = "Traceback (most recent call last):\n  in adversarial training, step 812\nMemoryError: 512 MiB asked, 301 MiB free"
    return rows.assign(
        state=["running", "waiting"] + ["failed"] * (len(rows) - 2),
        error=["", ""] + [memory] * (len(rows) - 3) + ["InputError: unknown recovery 'adversarial'; known: none, jpeg"],
    )


def _dfr() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        [
            {"dataset": "cifar10", "override": "", "poison": poison, "model": "small_cnn", "seed": seed, "estimator": estimator}
            | {"clean_samples": samples, "epoch": epoch, "plain_accuracy": 0.1 if epoch == 0 else min(0.1 + epoch / 10, accuracy)}
            | {"test_accuracy": 0.38 + (0.2 * (1 - np.exp(-epoch / 3)) - 0.008 * epoch) + 0.00002 * samples + rng.normal(0, 0.006)}
            for poison, accuracy in reversed(POISONED.items())
            for seed in SEEDS
            for estimator, samples in (("frozen", 1000), ("frozen", 5000), ("recalibrated", 5000))
            for epoch in range(13)
        ]
    )


def _separability() -> pd.DataFrame:
    fits = {"linear": (1.0, 0.99), "hidden_30": (1.0, 0.985), "linear_converged": (1.0, 0.995)}
    hard = {"linear": (0.42, 0.39), "hidden_30": (1.0, 0.98), "linear_converged": (0.45, 0.22)}
    clean = {"linear": (0.47, 0.38), "hidden_30": (0.61, 0.45), "linear_converged": (0.52, 0.36)}
    found = [(poison, "perturbations", hard if poison == "ar" else fits) for poison in POISONED if poison != "none"]
    return pd.DataFrame(
        [
            {"dataset": "cifar10", "override": "", "poison": poison, "subject": subject, "fit": fit}
            | {"train_accuracy": train, "held_out_accuracy": held_out}
            for poison, subject, table in [*found, ("lsp", "clean", clean)]
            for fit, (train, held_out) in table.items()
        ]
    )
