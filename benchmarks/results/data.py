"""A folder of results: the cells of a study, its epochs, and who measured them on what.

Ours lie in ``docs/results/data``, those of others in ``docs/results/submissions``, in the same form: ``cells.parquet`` as
``kedro study report`` writes it, ``about.yml``, and, where they were measured, ``epochs.parquet``, ``dfr.parquet`` and
``separability.parquet``.
"""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from unlearnable.errors import InputError
from unlearnable.reporting.findings import COLUMNS, KEY, Findings

ABOUT, CELLS, EPOCHS, DFR, SEPARABILITY = "about.yml", "cells.parquet", "epochs.parquet", "dfr.parquet", "separability.parquet"
EPOCH_COLUMNS = [*KEY, "training", "epoch", "test_accuracy", "loss"]
OF_A_SEED = ("seed", "craft.seed", "code")  # parts of a recipe in which seeds of one cell may differ
JSON_COLUMNS = {"recipe": "train", "versions": "torch"}  # objects as JSON text, and what each of them must name


class About(BaseModel):
    """Who measured what on which machine.

    Args:
        title: of the section, such as "All 50,000 images of CIFAR-10".
        by: who measured, as they want to be named.
        machine: processor or card, cores used, precision.
        measured: the day of the last cell.
        commit: of the code.
        commands: what was run, one a line.
        findings: what the results say, a sentence or two each, in Markdown. Figures with three decimals come from the tables.
        notes: how it was measured, and what else a reader must know, in Markdown, or nothing.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: str
    by: str
    machine: str
    measured: date
    commit: str
    commands: list[str]
    findings: list[str] = []
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Results:
    """A folder of results, checked: what its study found, its epochs (no rows where there are none), and about it."""

    findings: Findings
    epochs: pd.DataFrame
    about: About


def read(folder: Path) -> Results:
    """Return the results in ``folder``.

    Raises:
        InputError: one line that names the file, what was expected and what came.
    """
    about = _about(folder / ABOUT)
    cells = _table(folder / CELLS, COLUMNS["cells"])
    _check_json(folder / CELLS, cells)
    _check_recipes(folder / CELLS, cells)
    if unmeasured := int(cells["accuracy"].isna().sum()):
        raise InputError(f"{folder / CELLS}: expected an accuracy in every row, got {unmeasured} without")
    epochs = _optional(folder / EPOCHS, EPOCH_COLUMNS)
    try:
        findings = Findings(
            name=folder.name,
            description=about.title,
            cells=cells,
            unfinished=pd.DataFrame(),
            dfr=_optional(folder / DFR, COLUMNS["dfr"]),
            separability=_optional(folder / SEPARABILITY, COLUMNS["separability"]),
            pictures={},
            made=f"{about.measured}",
        )
    except InputError as error:
        raise InputError(f"{folder / CELLS}: {error}") from None
    return Results(findings=findings, epochs=epochs, about=about)


def folders(root: Path) -> list[Path]:
    """Return the folders of results below ``root``, by name."""
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _about(file: Path) -> About:
    try:
        return About.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: expected YAML, got {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{file}: '{name}': {first['msg']}, got {first['input']!r}") from None


def _table(file: Path, columns: tuple[str, ...] | list[str]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected a Parquet table, got {' '.join(str(error).split())}") from None
    if missing := [column for column in columns if column not in table]:
        raise InputError(f"{file}: expected the columns {', '.join(columns)}, got none of {', '.join(missing)}")
    if not len(table):
        raise InputError(f"{file}: expected at least one row, got none")
    return table[list(columns)]


def _optional(file: Path, columns: tuple[str, ...] | list[str]) -> pd.DataFrame:
    return _table(file, columns) if file.is_file() else pd.DataFrame(columns=list(columns))


def _check_json(file: Path, cells: pd.DataFrame) -> None:
    for column, needed in JSON_COLUMNS.items():
        for text in cells[column].unique():
            if needed not in _object(text):
                raise InputError(f"{file}: {column}: expected a JSON object with '{needed}' in every row, got {str(text)[:60]!r}")


def _check_recipes(file: Path, cells: pd.DataFrame) -> None:
    """Refuse seeds that were measured with different recipes: their mean would be of no training."""
    recipes = cells["recipe"].map(lambda text: str({name: value for name, value in _object(text).items() if name not in OF_A_SEED}))
    for cell, found in recipes.groupby([cells[name].fillna("") for name in KEY if name != "seed"]):
        if len(set(found)) > 1:
            raise InputError(f"{file}: recipe: expected one for all seeds of {', '.join(filter(None, cell))}, got {len(set(found))}")


def _object(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
