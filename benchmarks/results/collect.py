"""From a study in this project to a folder of results."""

import io
from pathlib import Path

import pandas as pd
from kedro.framework.startup import bootstrap_project

from benchmarks.results.data import CELLS, EPOCH_COLUMNS, EPOCHS
from unlearnable.artifacts.atomic import read_checked
from unlearnable.artifacts.storage import whole_versions
from unlearnable.study.cells import Cell
from unlearnable.study.gather import gather
from unlearnable.study.plan import Plan, plan


def collect(name: str, *, project: Path, env: str, folder: Path, commit: str) -> int:
    """Write the finished cells of a study and their epochs into ``folder``; return how many cells there are.

    Args:
        name: of the study.
        project: where it was run.
        env: that it was run in.
        folder: gets ``cells.parquet`` and ``epochs.parquet``.
        commit: of the code that ran, for cells whose MLflow run does not name it.
    """
    bootstrap_project(project)
    found = plan(name, project=project, env=env)
    cells = gather(found).cells
    cells = cells.assign(commit=cells["commit"].replace("", commit), run_url="")
    done = set(cells["recipe_hash"])
    of_cells = [cell for cell in found.grid.cells if cell.chain == "recover" and cell.configuration.recipe_hash(cell.scores) in done]
    epochs = pd.concat([_epochs(found, cell) for cell in of_cells], ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    cells.to_parquet(folder / CELLS, index=False)
    epochs.to_parquet(folder / EPOCHS, index=False)
    return len(cells)


def _epochs(found: Plan, cell: Cell) -> pd.DataFrame:
    """Return a row for each epoch of the training of a cell's recovered set."""
    history = pd.read_parquet(io.BytesIO(read_checked(whole_versions(found.project / cell.paths["history"])[-1])))
    names = {"poison": cell.poison, "recovery": cell.recovery, "override": cell.override, "model": cell.model, "seed": cell.seed}
    recovered = history[history["training"] == "recovered"]
    return recovered.assign(dataset=cell.parameters["dataset"], **names)[EPOCH_COLUMNS]
