"""The tables that a chain ends with."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich
from rich.console import RenderableType
from rich.table import Table

Scores = dict[str, Any]


def show(reports: Sequence[tuple[Scores, dict[str, Path]]]) -> None:
    """Print a table for each of the scores, the paths of the files beside them, and where to look further."""
    console = rich.get_console()
    for scores, files in reports:
        for part, describe in PARTS.items():
            for found in describe(scores) if part in scores else ():
                console.print(found, highlight=False)
        for name, path in files.items():
            print(f"{name.removesuffix('_figure').replace('_', ' ')}: {_shown(path)}")  # plain: a wrapped path cannot be copied  # noqa: T201
    console.print("runs in MLflow: make mlflow; the graph in kedro-viz: make viz", highlight=False)


def _accuracy(scores: Scores) -> Iterator[RenderableType]:
    cell = ", ".join(str(scores[name]) for name in ("dataset", "poison", "recovery", "model"))
    table = _table(f"Accuracy on the clean test set ({cell}, seed {scores['seed']})", ["trained on"], ["last epoch", "peak", "seconds"])
    for name, accuracy in scores["accuracy"].items():
        table.add_row(name, _percent(accuracy["last"]), _percent(accuracy["peak"]), f"{scores['seconds'][name]:.1f}")
    yield table


def _projection(scores: Scores) -> Iterator[RenderableType]:
    found = scores["projection"]
    held = f"{found['captured_energy']:.0%} of the classes' mean perturbations"
    yield f"directions removed: {found['removed_directions']}, which hold {held}"


def _likeness(scores: Scores) -> Iterator[RenderableType]:
    each = (f"{name} {_like(found)}" for name, found in scores["likeness"].items())
    yield f"likeness to the originals, median: {'; '.join(each)}"


def _like(found: dict[str, float]) -> str:
    return f"PSNR {found['psnr']:.1f} dB" + (f", SSIM {found['ssim']:.2f}" if "ssim" in found else "")


def _dfr(scores: Scores) -> Iterator[RenderableType]:
    cell = ", ".join(str(scores[name]) for name in ("dataset", "poison", "model"))
    table = _table(
        f"Deep feature reweighting ({cell}, seed {scores['seed']})", ["head"], ["untrained", "last", "held-out best", "test best"]
    )
    plain = scores["dfr"]["plain"]
    table.add_row("its own", "", _percent(plain["last"]), "", _percent(plain["peak"]))
    for estimator, counts in scores["dfr"].items():
        for count, found in counts.items() if estimator != "plain" else ():
            chosen = [f"{_percent(found[name]['accuracy'])} @{found[name]['epoch']}" for name in ("last", "held_out", "optimistic")]
            table.add_row(f"{estimator}, {int(count):,}", _percent(found["control"]), *chosen)
    yield table
    yield "accuracy on the clean test set @epoch, chosen among epochs as it says; the choice on the test set is optimistic"


def _separability(scores: Scores) -> Iterator[RenderableType]:
    table = _table(f"Separability ({scores['dataset']}, {scores['poison']})", ["model"], ["fitted", "held out", "ended after iterations"])
    for subject, found in scores["separability"].items():
        table.add_row(f"[bold]{'clean images' if subject == 'clean' else subject}")
        for model, fit in found["models"].items():
            table.add_row(f"  {model.replace('_', ' ')}", *_both(fit), f"{fit['ended']}, {fit['iterations']}")
        table.add_row("  3x3 filters", *_both(found["filters"]), end_section=True)
    yield table
    means = scores["separability"]["perturbations"]["class_means"]
    yield f"class means of the perturbations hold {means['energy']:.1%} of their energy, 99 % of that in {means['rank']} directions"


def _learnability(scores: Scores) -> Iterator[RenderableType]:
    found, cell = scores["learnability"], ", ".join(str(scores[name]) for name in ("dataset", "poison", "model"))
    table = _table(f"Certified learnability ({cell}, seed {scores['seed']})", ["weights moved by at most"], ["accuracy at most"])
    for radius, bound in found["bounds"].items():
        table.add_row(radius, "too few draws" if bound is None else _percent(bound))
    yield table
    noise = f"noise of deviation {found['deviation']:g} on the weights, {found['draws']:,} draws, {found['confidence']:.0%} sure"
    yield f"of the {found['quantile']:g} quantile under {noise}; without noise {_percent(found['plain_accuracy'])}"


def _audit(scores: Scores) -> Iterator[RenderableType]:
    audit = scores["audit"]
    cell = ", ".join(str(scores[name]) for name in ("dataset", "poison", "model"))
    title = f"Audit ({cell}, seed {scores['seed']}, {audit['test_images']:,} test images)"
    table = _table(title, ["learned from the protected images by"], ["accuracy", "of what the originals teach"])
    if audit["originals"] is not None:
        table.add_row("(the originals)", _percent(audit["originals"]["accuracy"]), "")
    for name, way in audit["ways"].items():
        table.add_row(name.replace("_", " "), _percent(way["accuracy"]), _percent(way["learned"]))
    yield table
    yield audit["verdict"]


PARTS = {
    "accuracy": _accuracy,
    "projection": _projection,
    "likeness": _likeness,
    "dfr": _dfr,
    "separability": _separability,
    "learnability": _learnability,
    "audit": _audit,
}


def _table(title: str, names: list[str], numbers: list[str]) -> Table:
    table = Table(*names, title=title)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction:.1%}"


def _both(fit: dict[str, Any]) -> tuple[str, str]:
    return _percent(fit["train_accuracy"]), _percent(fit["held_out_accuracy"])


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
