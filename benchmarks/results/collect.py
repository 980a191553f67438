"""From a study in this project to a folder of results."""

import io
from pathlib import Path

import pandas as pd
from kedro.framework.startup import bootstrap_project

from benchmarks.results.data import CELLS, DFR, EPOCH_COLUMNS, EPOCHS, SEPARABILITY
from unlearnable.artifacts.atomic import read_checked
from unlearnable.artifacts.storage import whole_versions
from unlearnable.reporting.findings import KEY
from unlearnable.study.cells import Cell
from unlearnable.study.gather import gather
from unlearnable.study.plan import Plan, plan


def collect(name: str, *, project: Path, env: str, folder: Path, commit: str) -> int:
    """Write the finished cells of a study, their epochs, heads and fits into ``folder``; return how many cells it has finished.

    Rows of another study, or of other seeds, that are there stay, so that a table may be measured in parts.

    Args:
        name: of the study.
        project: where it was run.
        env: that it was run in.
        folder: gets ``cells.parquet``, ``epochs.parquet``, ``dfr.parquet`` and ``separability.parquet``, those that have rows.
        commit: of the code that ran, for cells whose MLflow run does not name it.
    """
    bootstrap_project(project)
    found = plan(name, project=project, env=env)
    findings = gather(found)
    cells = findings.cells.assign(commit=findings.cells["commit"].replace("", commit), run_url="")
    done = set(cells["recipe_hash"])
    of_cells = [cell for cell in found.grid.cells if cell.chain == "recover" and cell.configuration.recipe_hash(cell.scores) in done]
    epochs = pd.concat([_epochs(found, cell) for cell in of_cells] or [pd.DataFrame()], ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    for file, table in {CELLS: cells, EPOCHS: epochs, DFR: findings.dfr, SEPARABILITY: findings.separability}.items():
        if len(table):
            _added(folder / file, table).to_parquet(folder / file, index=False)
    return len(found.grid.cells) - len(findings.unfinished)


def _added(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a file that are of other cells than those of ``table``, and then these."""
    if not file.is_file():
        return table
    before, key = pd.read_parquet(file), [name for name in KEY if name in table]
    measured = pd.MultiIndex.from_frame(table[key])
    return pd.concat([before[~pd.MultiIndex.from_frame(before[key]).isin(measured)], table], ignore_index=True)


def _epochs(found: Plan, cell: Cell) -> pd.DataFrame:
    """Return a row for each epoch of the training of a cell's recovered set."""
    history = pd.read_parquet(io.BytesIO(read_checked(whole_versions(found.project / cell.paths["history"])[-1])))
    names = {"poison": cell.poison, "recovery": cell.recovery, "override": cell.override, "model": cell.model, "seed": cell.seed}
    recovered = history[history["training"] == "recovered"]
    return recovered.assign(dataset=cell.parameters["dataset"], **names)[EPOCH_COLUMNS]
