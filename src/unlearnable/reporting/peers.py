"""What peers published, beside what a study found."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import pandas as pd
from omegaconf import OmegaConf

from unlearnable.reporting.findings import Findings
from unlearnable.reporting.recipes import flat
from unlearnable.reporting.tables import PANEL, records

TRAIN_SIZE, EPOCHS, AUGMENTATION = "ingest.train_size", "train.epochs", "train.augmentation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A published table.

    Args:
        name: of the benchmark or paper.
        source: where the table stands, in words.
        link: to it.
        date: of the table.
        setting: how it was measured, in words.
        accuracy: fractions in [0, 1] by poison and recovery.
    """

    name: str
    source: str
    link: str
    date: str
    setting: str
    accuracy: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a study found for one dataset, model and set of overrides, and why peers cannot be compared with it.

    Args:
        ours: what it was measured on, in words.
        differences: from what the peers measured on; none where the settings agree.
        rows: of ``tables.summary``, those for which a peer has a figure, with the settings of that figure.
    """

    ours: str
    differences: list[str]
    rows: pd.DataFrame


@cache
def _published() -> dict[str, Any]:
    text = (files("unlearnable.reporting") / "published.yml").read_text(encoding="utf-8")
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.create(text)))


def peers() -> list[Peer]:
    """Return the published tables."""
    return [Peer(**peer) for peer in _published()["peers"]]


def measured_on() -> dict[str, Any]:
    """Return the ``dataset``, the number of ``images`` and the ``model`` of all published tables."""
    return dict(_published()["measured_on"])


def comparisons(findings: Findings, table: pd.DataFrame) -> list[Comparison]:
    """Return, for each dataset, model and set of overrides of ``table`` (as ``tables.summary`` gives it), what peers can be laid beside."""
    cells = findings.cells.assign(flat=findings.cells["recipe"].map(flat))
    panels: dict[Any, pd.DataFrame] = dict(list(cells.groupby(PANEL, sort=False)))
    compared = (_comparison(key, panels[key], rows) for key, rows in table.groupby(PANEL, sort=False))
    return [found for found in compared if len(found.rows)]


def _comparison(key: Any, cells: pd.DataFrame, rows: pd.DataFrame) -> Comparison:
    known = {(poison, recovery) for peer in peers() for poison, row in peer.accuracy.items() for recovery in row}
    known -= {(cell.poison, cell.recovery) for cell in records(cells) if not _as_published(cell.recovery, cell.flat)}
    dataset, model, override = key
    ours = {"dataset": dataset, "images": " or ".join(dict.fromkeys(_size(recipe, dataset) for recipe in cells["flat"])), "model": model}
    differences = _differences(ours) + ([] if all(map(_trained_alike, cells["flat"])) else ["training recipe"])
    return Comparison(
        ours=_words(ours) + (f" ({override})" if override else ""),
        differences=differences,
        rows=rows.loc[[(row.poison, row.recovery) in known for row in records(rows)]],
    )


def _as_published(recovery: str, recipe: Any) -> bool:
    """Return whether a recipe has the settings with which peers measured that recovery; what it does not name it has."""
    settings = _published()["settings"].get(recovery, {})
    return all(recipe.get(name, json.dumps(value)) == json.dumps(value) for name, value in settings.items())


def _trained_alike(recipe: Any) -> bool:
    """Return whether a training has the peers' augmentation and enough epochs; what its recipe does not name it has."""
    published = _published()["recipe"]
    epochs = json.loads(recipe.get(EPOCHS, str(published["least_epochs"])))
    wanted = {f"{AUGMENTATION}.{name}": value for name, value in published["augmentation"].items()}
    alike = all(json.loads(recipe.get(name, json.dumps(value))) == value for name, value in wanted.items())
    return alike and int(epochs) >= published["least_epochs"]


def theirs() -> str:
    """Return what the peers measured on, and how they trained, in words."""
    images = f"{measured_on()['images']:,}"
    least = _published()["recipe"]["least_epochs"]
    return f"{_words(measured_on() | {'images': images})}, crop and flip alone, at least {least} epochs"


def _words(setting: dict[str, Any]) -> str:
    return f"{setting['dataset']}, {setting['images']} images, {setting['model']}"


def _size(recipe: Any, dataset: Any) -> str:
    """Return the number of training images in words; null takes all that the dataset has."""
    size = json.loads(recipe.get(TRAIN_SIZE, '"an unknown number of"'))
    if size is None:
        return f"{measured_on()['images']:,}" if dataset == measured_on()["dataset"] else "all"
    return f"{size:,}" if isinstance(size, int) else str(size)


def _differences(ours: dict[str, Any]) -> list[str]:
    expected = measured_on() | {"images": f"{measured_on()['images']:,}"}
    names = {"dataset": "dataset", "images": "number of images", "model": "network"}
    return [names[key] for key in names if ours[key] != expected[key]]
