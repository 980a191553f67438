"""The table that a chain ends with."""

from pathlib import Path
from typing import Any

import rich
from rich.table import Table


def show(scores: dict[str, Any], figures: dict[str, Path]) -> None:
    """Print accuracies in percent, the figures' paths, and where to look further."""
    cell = ", ".join(str(scores[name]) for name in ("dataset", "poison", "recovery", "model"))
    table = Table("trained on", title=f"Accuracy on the clean test set ({cell}, seed {scores['seed']})")
    for heading in ("last epoch", "peak", "seconds"):
        table.add_column(heading, justify="right")
    for name, accuracy in scores["accuracy"].items():
        table.add_row(name, f"{accuracy['last']:.1%}", f"{accuracy['peak']:.1%}", f"{scores['seconds'][name]:.1f}")
    console = rich.get_console()
    console.print(table)
    console.print(_removed(scores["orthogonal_projection"]), highlight=False)
    for name, path in figures.items():
        print(f"{name.removesuffix('_figure')}: {_shown(path)}")  # plain: a wrapped path cannot be copied  # noqa: T201
    console.print("runs in MLflow: make mlflow; the graph in kedro-viz: make viz", highlight=False)


def _removed(projection: dict[str, float]) -> str:
    removed = f"directions removed: {projection['removed_directions']}"
    if "captured_energy" not in projection:
        return removed
    return f"{removed}, which hold {projection['captured_energy']:.0%} of the classes' mean perturbations"


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
