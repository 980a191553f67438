"""A page for each folder of results: its recipe, its commands, and every seed of every cell."""

import json
import re
from typing import Any

import pandas as pd

from docsite import code, table
from docsite.entries import OF_A_CELL, Entry, accuracy, anchor, cells_of, recipe_of
from unlearnable.reporting.recipes import common, difference, flat, lines
from unlearnable.reporting.tables import records

ABOUT = """# {title}

By {by}, until {measured}. Machine: {machine}. Commit {commit}.

{commands}

{notes}

[All rows](../leaderboard.md) · [what was learned from it](../../results/README.md)

## The recipe

Every cell has these values, unless it says otherwise below.

```yaml
{recipe}
```

## Cells
"""


def recipes_page(entry: Entry) -> str:
    """Return the page of a folder."""
    about, cells = entry.results.about, entry.results.findings.cells
    shared = {name: value for name, value in common([recipe_of(cell) for cell in records(cells)]).items() if not _of_a_cell(name)}
    notes = re.sub(r"\]\((?!https?:|#)", "](../../results/", about.notes)  # a link there starts from the page of results
    told = about.model_dump() | {
        "notes": notes,
        "commands": "\n".join(f"    {command}" for command in about.commands),
        "recipe": lines(shared),
    }
    return ABOUT.format(**told) + "".join(_cell(entry, row, shared) for row in records(entry.means))


def _cell(entry: Entry, row: Any, shared: dict[str, str]) -> str:
    """Return what a reader needs to repeat one figure."""
    cells = cells_of(entry, row)
    label = f", {row.override}" if row.override else ""
    other = lines(difference(recipe_of(next(records(cells))), shared))
    text = f"\n### {row.poison}, {row.recovery}, {row.model} on {row.dataset}{label} {{#{anchor(row)}}}\n\n{accuracy(row)}\n\n"
    text += f"    {command}\n\n" if (command := _command(entry, row)) else ""
    text += table(
        ["seed", "accuracy", "best epoch on the test set", "clean network", "training, s", "recipe", "on"], map(_seed, records(cells))
    )
    return text + (f"\nIts own settings:\n\n```yaml\n{other}\n```\n" if other else "")


def _seed(cell: Any) -> list[str]:
    numbers = [f"{value:.4f}" if pd.notna(value) else "" for value in (cell.accuracy, cell.peak, cell.accuracy_clean)]
    seconds = f"{cell.seconds_training:,.0f}" if pd.notna(cell.seconds_training) else ""
    return [str(cell.seed), *numbers, seconds, code(cell.recipe_hash), _made_on(cell.made_on)]


def _made_on(text: str) -> str:
    found = flat(text)
    return ", ".join(str(json.loads(found[name])) for name in ("recovered.name", "recovered.precision") if name in found)


def _command(entry: Entry, row: Any) -> str:
    """Return the command of the first seed; nothing where the study has settings of its own, which its own command gives."""
    environments = set(re.findall(r"--env[= ](\S+)", "\n".join(entry.results.about.commands)))
    if row.override or len(environments) != 1:
        return ""
    seed = cells_of(entry, row)["seed"].min()
    names = f"poison={row.poison},recovery={row.recovery},model={row.model},seed={seed}"
    return f"kedro run --pipeline=recover --env={environments.pop()} --params={names}"


def _of_a_cell(name: str) -> bool:
    return name.startswith(tuple(f"{stage}." for stage in OF_A_CELL))
