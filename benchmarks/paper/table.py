"""The section of the results page, from the committed lines and beside what others have published."""

import statistics
from collections.abc import Sequence
from typing import Any

import yaml

from benchmarks.paper.cells import PAPER, Cell
from benchmarks.paper.lines import Line
from benchmarks.timing import ROOT
from unlearnable.errors import InputError

PAGE, EXPECTED, RESULTS = (ROOT / "docs" / "results" / name for name in ("README.md", "expected.yml", "paper.jsonl"))
BEGIN, END = "<!-- written by python -m benchmarks.paper --table -->", "<!-- up to here -->"
COUNTS = (500, 1000, 5000, 15_000)  # clean samples of a new head
NAMES = {
    "clean": "clean, recipe of Orthogonal Projection",
    "poisoned": "poisoned, crop and flip",
    "orthogonal_projection": "Orthogonal Projection",
    "separability": "softmax regression on the perturbations",
}
MISSING = "not measured yet"
Row = tuple[str, str, str]  # the cells' row, what is said of it, and how many clean samples, or nothing


def with_section(page: str, lines: Sequence[Line], expected: str) -> str:
    """Return the page with its section written anew.

    Raises:
        InputError: the page has no such section, or a cell is there twice.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{PAGE}: expected the section between '{BEGIN}' and '{END}', got none")
    return f"{before}{BEGIN}\n{section(lines, yaml.safe_load(expected))}\n{END}{after}"


def section(lines: Sequence[Line], expected: Sequence[dict[str, Any]]) -> str:
    """Return the tables as Markdown."""
    lines = [line for line in lines if not line["key"].startswith("dry/")]
    keys = [line["key"] for line in lines]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"{RESULTS}: expected each cell once, got {twice[0]} twice")
    published = {about["cell"]: _published(about) for about in expected if "cell" in about}
    text = ["| images, network | poison | what | accuracy | seeds | published |", "|---" * 6 + "|"]
    for cell in {cell.row: cell for cell in PAPER}.values():
        found = [line for line in lines if line["key"].rpartition("/")[0] == cell.row]
        text += _rows(cell, found, published.get(cell.row, ""))
    return "\n".join([*text, *_checks(lines), "", *_measured_with(lines)])


def _published(about: dict[str, Any]) -> str:
    tag = ", for orientation alone" if about.get("orientation") else ""
    return f"{about['expected']} ({about['source']}{tag})"


def _rows(cell: Cell, lines: Sequence[Line], published: str) -> list[str]:
    start = f"| {cell.dataset}, `{cell.network}` | `{cell.poison}` |"
    whole = [line for line in lines if "failed" not in line]
    failed = "; ".join(f"seed {line['seed']} failed: {line['failed']}" for line in lines if "failed" in line)
    seeds = ", ".join(str(line["seed"]) for line in whole)
    if cell.what != "dfr":
        values = [line["separability"]["linear"]["train_accuracy"] if cell.what == "separability" else line["accuracy"] for line in whole]
        return [f"{start} {NAMES[cell.what]} | {_mean(values, failed)} | {seeds} | {published} |"]
    if not lines:
        return [f"{start} new head on {COUNTS[0]} to {COUNTS[-1]:,} clean images | {MISSING} | | {published} |"]
    return [f"{start} new head on {count:,} clean images | {_heads(whole, count, failed)} | {seeds} | {published} |" for count in COUNTS]


def _heads(lines: Sequence[Line], count: int, failed: str) -> str:
    """Return what new heads reach at the epoch that held-out images choose, and on the untrained network."""
    chosen = [_chosen([row for row in line["rows"] if row["clean_samples"] == count]) for line in lines]
    if not chosen:
        return _mean([], failed)
    accuracies, controls, epochs = zip(*chosen, strict=True)
    return f"{_mean(accuracies, failed)} at epoch {', '.join(map(str, epochs))}; untrained {_mean(controls, '')}"


def _chosen(rows: Sequence[Line]) -> tuple[float, float, int]:
    best = max((row for row in rows if row["epoch"] > 0), key=lambda row: row["held_out_accuracy"])
    [control] = [row["test_accuracy"] for row in rows if row["epoch"] == 0]
    return best["test_accuracy"], control, best["epoch"]


def _mean(values: Sequence[float], failed: str) -> str:
    """Return the mean, with the sample deviation of several."""
    if not values:
        return failed or MISSING
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}" + (f"; {failed}" if failed else "")


def _checks(lines: Sequence[Line]) -> list[str]:
    """Return what was found of the engine."""
    found = [line for line in lines if line["part"] == "engine"]
    return (
        ["", "| the card beside the CPU | found |", "|---|---|", *(f"| {line['what']} | {_told(line)} |" for line in found)]
        if found
        else []
    )


def _told(line: Line) -> str:
    if "failed" in line:
        return f"failed: {line['failed']}"
    return _flat({name: value for name, value in line["found"].items() if name != "flags"})


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(each)}" for name, each in value.items())
    if isinstance(value, list):
        return f"{min(value):.3g} to {max(value):.3g}" if value else "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _measured_with(lines: Sequence[Line]) -> list[str]:
    """Return the cards, precisions and commits of all lines."""
    with_what = {
        f"{line['machine']}, {line['flags']['precision']}, torch {line['versions']['torch']}, commit {line['versions']['commit']}": None
        for line in lines
    }
    return [f"Measured on: {'; '.join(with_what)}."] if with_what else [f"Card, precision and commit: {MISSING}."]
