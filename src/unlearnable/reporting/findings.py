"""Everything that a study has found, checked on construction."""

from dataclasses import dataclass, field

import pandas as pd

from unlearnable.errors import InputError

KEY = ("dataset", "poison", "recovery", "override", "model", "seed")
FRACTIONS = ("accuracy_clean", "accuracy_poisoned", "accuracy", "peak")
SECONDS = ("seconds_recovery", "seconds_training")
COLUMNS = {
    "cells": (*KEY, "recipe_hash", "score_hash", *FRACTIONS, *SECONDS, "threads", "commit", "run_url", "recipe", "versions", "made_on"),
    "unfinished": (*KEY, "chain", "state", "error"),
    "dfr": (
        "dataset",
        "poison",
        "override",
        "model",
        "seed",
        "estimator",
        "clean_samples",
        "epoch",
        "test_accuracy",
        "plain_accuracy",
        "made_on",
    ),
    "separability": ("dataset", "poison", "override", "subject", "fit", "train_accuracy", "held_out_accuracy"),
    "learnability": ("dataset", "poison", "override", "model", "seed", "deviation", "quantile", "radius", "bound", "plain_accuracy"),
}
RECOVER = "recover"  # the chain of ``cells``; the others are probes
OPTIONAL = ("override", "made_on", "chain")  # columns that may be missing
TEXTS = ("override", "made_on", "chain", "recipe_hash", "score_hash", "threads", "commit", "run_url", "recipe", "versions", "error")
ACCURACIES = (*FRACTIONS, "test_accuracy", "plain_accuracy", "train_accuracy", "held_out_accuracy", "bound")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that a study has found. Accuracies are fractions in [0, 1] on the clean test set, or NaN.

    Args:
        name: of the study.
        description: the question it asks, in a sentence or two.
        cells: a row for each finished cell: ``KEY``, where ``override`` labels the set of overrides ("" or no column if there is only one);
            ``recipe_hash`` and ``score_hash``; ``accuracy_clean`` and ``accuracy_poisoned``; ``accuracy`` of the recovery (last epoch, or
            the one that early stopping chose) and its ``peak``; ``seconds_recovery`` (before the training) and ``seconds_training``;
            ``threads``; ``commit``; ``run_url`` of its MLflow run, or ""; ``recipe`` and ``versions``, objects as JSON text;
            ``made_on``, what each training was made on, as JSON text or "".
        unfinished: a row for each other cell: ``KEY``, ``chain`` (RECOVER if there is no column), ``state`` (failed, running or waiting)
            and ``error``.
        dfr: a row for each head of deep feature reweighting: ``KEY`` without the recovery, ``estimator``, ``clean_samples``, ``epoch`` (0
            is the untrained control), ``test_accuracy``, ``plain_accuracy`` of the network's own head, and ``made_on`` as of cells.
        separability: a row for each fit: ``dataset``, ``poison``, ``override``, ``subject`` (perturbations or clean), ``fit``,
            ``train_accuracy`` and ``held_out_accuracy``.
        learnability: a row for each radius of certified learnability: ``KEY`` without the recovery, ``deviation`` of the noise, the
            ``quantile`` that is bounded, ``radius``, ``bound`` (NaN where draws were too few) and ``plain_accuracy`` without noise.
        pictures: PNG files by caption.
        made: the time, in ISO 8601.

    Raises:
        InputError: a table with rows has a missing column, an accuracy is not a fraction, or a cell occurs twice.
    """

    name: str
    description: str
    cells: pd.DataFrame
    unfinished: pd.DataFrame
    dfr: pd.DataFrame
    separability: pd.DataFrame
    pictures: dict[str, bytes]
    made: str
    learnability: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), columns))
        unfinished = self.unfinished.assign(chain=self.unfinished["chain"].replace("", RECOVER))
        object.__setattr__(self, "unfinished", unfinished)
        _check_once(pd.concat([self.cells.assign(chain=RECOVER), unfinished])[[*KEY, "chain"]])


def _checked(name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return ``table`` with these columns: measured ones as floats, ``TEXTS`` as text. A table without rows may have fewer columns."""
    missing = [column for column in columns if column not in table and column not in OPTIONAL]
    if missing and len(table):
        raise InputError(f"{name} of a study: expected the columns {', '.join(columns)}, got none of {', '.join(missing)}")
    floats = [column for column in columns if column in ACCURACIES + SECONDS]
    table = table.reindex(columns=list(columns)).astype(dict.fromkeys(floats, float))
    table = table.astype({"seed": int} if "seed" in columns else {})  # in an empty table too: its floats would spread to others
    texts = table[[column for column in columns if column in TEXTS]].astype(object)
    table = table.assign(**texts.where(texts.notna(), "").astype(str))
    for column in (column for column in columns if column in ACCURACIES):
        _check_fractions(f"{name} of a study: {column}", table[column])
    return table


def _check_fractions(what: str, values: pd.Series) -> None:
    wrong = values[~(values.isna() | values.between(0, 1))]
    if len(wrong):
        raise InputError(f"{what}: expected fractions in [0, 1], got {wrong.iloc[0]}")


def _check_once(keys: pd.DataFrame) -> None:
    twice = keys[keys.duplicated()]
    if len(twice):  # it would count as another seed
        raise InputError(f"cells of a study: expected each once, got this one again: {', '.join(map(str, twice.iloc[0]))}")
