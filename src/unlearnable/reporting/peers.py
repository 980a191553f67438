"""Published figures, compared with the results of a study."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from unlearnable.reporting.findings import Findings
from unlearnable.reporting.recipes import flat
from unlearnable.reporting.tables import PANEL, records

TRAIN_SIZE, EPOCHS, AUGMENTATION = "ingest.train_size", "train.epochs", "train.augmentation"
PRETRAINING = "train.pretraining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The results of a study for one dataset, model and set of overrides, and what makes them incomparable with published ones.

    Args:
        ours: what ours were measured on, in words.
        differences: how that differs from the published setting; empty if the settings agree.
        rows: the rows of ``tables.summary`` for which a figure with the same settings was published.
    """

    ours: str
    differences: list[str]
    rows: pd.DataFrame


@cache
def published() -> dict[str, Any]:
    """Return the content of ``published.yml``: the tables of ``peers``, and the setting that they share."""
    text = (files("unlearnable.reporting") / "published.yml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text)}


def comparisons(findings: Findings, table: pd.DataFrame) -> list[Comparison]:
    """Return the comparison for each dataset, model and set of overrides of ``table``, a result of ``tables.summary``."""
    cells = findings.cells.assign(flat=findings.cells["recipe"].map(flat))
    panels: dict[Any, pd.DataFrame] = dict(list(cells.groupby(PANEL, sort=False)))
    compared = (_comparison(key, panels[key], rows) for key, rows in table.groupby(PANEL, sort=False))
    return [found for found in compared if len(found.rows)]


def _comparison(key: Any, cells: pd.DataFrame, rows: pd.DataFrame) -> Comparison:
    known = {(poison, recovery) for peer in published()["peers"] for poison, row in peer["accuracy"].items() for recovery in row}
    settings = published()["settings"]
    known -= {(cell.poison, cell.recovery) for cell in records(cells) if not _has(cell.flat, settings.get(cell.recovery, {}))}
    dataset, model, override = key
    sizes = dict.fromkeys(_size(recipe, dataset) for recipe in cells["flat"])
    ours = {"dataset": dataset, "number of images": " or ".join(sizes), "network": model}
    differences = [name for name, value in _measured_on().items() if ours[name] != value]
    return Comparison(
        ours=_words(ours) + (f" ({override})" if override else ""),
        differences=differences + ([] if all(map(_trained_alike, cells["flat"])) else ["training recipe"]),
        rows=rows.loc[[(row.poison, row.recovery) in known for row in records(rows)]],
    )


def _measured_on() -> dict[str, str]:
    found = published()["measured_on"]
    return {"dataset": found["dataset"], "number of images": f"{found['images']:,}", "network": found["model"]}


def _has(recipe: Mapping[str, str], settings: Mapping[str, Any]) -> bool:
    """Return whether a recipe has these settings; one that it does not name counts as equal."""
    return all(json.loads(recipe.get(name, json.dumps(value))) == value for name, value in settings.items())


def _trained_alike(recipe: Mapping[str, str]) -> bool:
    """Return whether a training has the published augmentation, enough epochs and no pretraining."""
    wanted = published()["recipe"]
    enough = int(json.loads(recipe.get(EPOCHS, str(wanted["least_epochs"])))) >= wanted["least_epochs"]
    augmentation = {f"{AUGMENTATION}.{name}": value for name, value in wanted["augmentation"].items()}
    return enough and _has(recipe, {PRETRAINING: None} | augmentation)


def theirs() -> str:
    """Return the published setting in words: data, network and training."""
    return f"{_words(_measured_on())}, only crop and flip, at least {published()['recipe']['least_epochs']} epochs"


def _words(setting: Mapping[str, str]) -> str:
    return f"{setting['dataset']}, {setting['number of images']} images, {setting['network']}"


def _size(recipe: Mapping[str, str], dataset: Any) -> str:
    """Return the number of training images in words; null means the whole dataset."""
    size = json.loads(recipe.get(TRAIN_SIZE, '"an unknown number of"'))
    if size is None:
        return _measured_on()["number of images"] if dataset == _measured_on()["dataset"] else "all"
    return f"{size:,}" if isinstance(size, int) else str(size)
