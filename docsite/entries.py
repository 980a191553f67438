"""The committed folders of results, as the leaderboard shows them: means over seeds, and the values of their recipes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from benchmarks.results.data import Results, folders, read

from unlearnable.reporting.peers import Comparison, comparisons
from unlearnable.reporting.recipes import flat
from unlearnable.reporting.tables import GROUP, summary

AXES = ("poison", "recovery", "model", "seed")  # what the headings of the cells say
KINDS = {"data": "", "submissions": "submission-"}  # folders, and how the pages of each are named
OF_A_CELL = ("craft", "recover")  # settings of its poison and of its recovery


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A folder of results with the means of its cells and what they can be compared with."""

    name: str
    results: Results
    means: pd.DataFrame
    comparisons: list[Comparison]

    @property
    def page(self) -> str:
        """The page of its recipes, from the leaderboard on."""
        return f"leaderboard/{self.name}.md"


def entries_in(root: Path) -> list[Entry]:
    """Return the folders of results in ``data``, which are ours, and in ``submissions``, of others."""
    return [_entry(folder, prefix) for kind, prefix in KINDS.items() for folder in folders(root / kind)]


def _entry(folder: Path, prefix: str) -> Entry:
    results = read(folder)
    table = summary(results.findings)
    clean = results.findings.cells.groupby(GROUP, sort=False)["accuracy_clean"].mean().rename("clean").reset_index()
    means = table[table["n"] > 0].merge(clean, on=GROUP, how="left")
    return Entry(name=prefix + folder.name, results=results, means=means, comparisons=comparisons(results.findings, table))


def accuracy(row: Any) -> str:
    """Return mean, deviation and number of seeds, such as ``0.205 ± 0.007 (2)``."""
    return f"{row.mean:.3f}" + (f" ± {row.sd:.3f}" if row.n > 1 else "") + f" ({row.n})"


def anchor(row: Any) -> str:
    """Return what a link names the recipe of a row by."""
    words = (row.poison, row.recovery, row.model, row.dataset, row.override)
    return re.sub(r"\W+", "-", "-".join(words)).strip("-").lower()


def cells_of(entry: Entry, row: Any) -> pd.DataFrame:
    """Return the cells behind a row of means, by seed."""
    cells = entry.results.findings.cells
    here = cells[GROUP].eq(pd.Series({name: getattr(row, name) for name in GROUP})).all(axis=1)
    return cells[here].sort_values("seed")


def recipe_of(cell: Any) -> dict[str, str]:
    """Return the values of a recipe, without what the cell is named by and without empty settings."""
    found = flat(cell.recipe)
    return {name: value for name, value in found.items() if name not in AXES and not (name in OF_A_CELL and value == "null")}
