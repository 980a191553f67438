"""The section of the results page that is written from committed data, and its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.results.columns import columns, curves, renamed
from benchmarks.results.curves import curve_figure, epochs_figure, scatter_figure
from benchmarks.results.data import Results, folders, read
from benchmarks.timing import ROOT
from unlearnable.errors import InputError
from unlearnable.reporting.charts import draw
from unlearnable.reporting.findings import Findings
from unlearnable.reporting.tables import CONTROL, GROUP, OWN_HEAD, heads, ordered, records, summary
from unlearnable.reporting.tables import curves as dfr_curves

RESULTS = ROOT / "docs" / "results"
PAGE, OURS, OTHERS = RESULTS / "README.md", RESULTS / "data", RESULTS / "submissions"
BEGIN, END = "<!-- written by make results -->", "<!-- the end of what make results writes -->"
LAST = 2  # from the last epoch on, a peak is the end and no peak


def written(page: str, ours: Path = OURS, others: Path = OTHERS) -> dict[str, bytes]:
    """Return the files that ``make results`` writes below ``docs/results``, by name: the page, with its section anew, and the figures.

    Raises:
        InputError: the page has no such section, or data is not as it should be.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{PAGE}: expected the section between '{BEGIN}' and '{END}', got none")
    mine, theirs = [read(folder) for folder in folders(ours)], [read(folder) for folder in folders(others)]
    text = "\n\n".join([*map(_ours, mine), _theirs(theirs)])
    files = {"README.md": f"{before}{BEGIN}\n\n{text}\n\n{END}{after}".encode()}
    for results in mine:
        files |= {f"figures/{results.findings.name}-{name}.svg": content for name, content in _figures(results).items()}
    return files


def _figures(results: Results) -> Mapping[str, bytes]:
    names, findings = columns(results.findings.cells), results.findings
    cells = renamed(findings.cells, names)
    drawn = draw(replace(findings, cells=cells), "svg")
    found = {name: drawn[name].files["svg"] for name in ("accuracy", "dfr") if name in drawn}
    if len(beside := decided(findings)):
        found["separability"] = scatter_figure(beside)
    found |= {counted: curve_figure(cells, counted, points) for counted, points in curves(names).items()}
    return found | ({"epochs": epochs_figure(renamed(results.epochs, names))} if len(results.epochs) else {})


def _ours(results: Results) -> str:
    about, name, names = results.about, results.findings.name, columns(results.findings.cells)
    table = renamed(summary(results.findings), names)
    parts = [f"## {about.title}", "\n".join(f"    {command}" for command in about.commands), _measured_on(results), about.notes.strip()]
    parts += [accuracies(table), f"![accuracy](figures/{name}-accuracy.svg)"]
    parts += [f"![accuracy by {counted}](figures/{name}-{counted}.svg)" for counted in curves(names)]
    parts += [gains(table)]
    if len(results.epochs):
        parts += [peaks(renamed(results.epochs, names)), f"![accuracy after each epoch](figures/{name}-epochs.svg)"]
    if len(results.findings.dfr):
        parts += [new_heads(results.findings.dfr), f"![accuracy of new heads after each epoch](figures/{name}-dfr.svg)"]
    if len(beside := decided(results.findings)):
        parts += [separabilities(beside), f"![accuracy against separability](figures/{name}-separability.svg)"]
    return "\n\n".join(filter(None, parts))


def _measured_on(results: Results) -> str:
    cells, about = results.findings.cells, results.about
    seeds, networks = (", ".join(map(str, sorted(cells[column].unique()))) for column in ("seed", "model"))
    return (
        f"Cells: {len(cells)}; network: `{networks}`; seeds: {seeds}; commit {about.commit}, {about.machine}, until {about.measured}. "
        "Accuracy on the clean test set after the last epoch; where there are several seeds, mean ± the sample's deviation."
    )


def accuracies(table: pd.DataFrame) -> str:
    """Return the table of poisons by recoveries; what has no cell is empty."""
    recoveries = ordered(table["recovery"])
    found = {(row.poison, row.recovery): _accuracy(row) for row in records(table)}
    lines = ["| poison | " + " | ".join(f"`{name}`" for name in recoveries) + " |", "|---" * (len(recoveries) + 1) + "|"]
    for poison in ordered(table["poison"]):
        lines.append(f"| `{poison}` | " + " | ".join(found.get((poison, name), "") for name in recoveries) + " |")
    return "\n".join(lines)


def _accuracy(row: Any) -> str:
    if not row.n:
        return ""
    return f"{row.mean:.3f}" + (f" ± {row.sd:.3f}" if row.n > 1 else "")


def gains(table: pd.DataFrame) -> str:
    """Return a sentence for each recovery of each poison that has a control: what it gains, and whether that is more than nothing."""
    rows = list(records(table[table["recovery"] != CONTROL].dropna(subset=["gain"])))
    lines = ["What a recovery gains over none, pairs of one seed (interval: 95 %, Student's t):", ""]
    return "\n".join([*lines, *(f"- `{row.poison}`, `{row.recovery}`: {_gain(row)}." for row in rows)]) if rows else ""


def _gain(row: Any) -> str:
    if row.pairs < LAST:
        return f"{row.gain:+.3f}; one pair, so no interval"
    return f"{row.gain:+.3f} ({row.low:+.3f} to {row.high:+.3f}, {row.pairs} pairs): {row.verdict}"


def peaks(epochs: pd.DataFrame) -> str:
    """Return a table of when each poison wins: the best epoch of training on it without a recovery, and the last one."""
    plain = epochs[epochs["recovery"] == CONTROL].sort_values("epoch", kind="stable")
    lines = ["| poison, no recovery | best epoch | accuracy then | after the last epoch |", "|---|---|---|---|"]
    for poison in ordered(plain["poison"]):
        runs = [run for _, run in plain[plain["poison"] == poison].groupby([*GROUP, "seed"], sort=False)]
        best = [run.loc[run["test_accuracy"].idxmax()] for run in runs]
        when = ", ".join(f"{row['epoch']} of {run['epoch'].max()}" for row, run in zip(best, runs, strict=True))
        lines.append(f"| `{poison}` | {when} | {_mean(row['test_accuracy'] for row in best)} | {_mean(_last(runs))} |")
    return "\n".join(lines) if len(lines) > LAST else ""


def new_heads(dfr: pd.DataFrame) -> str:
    """Return a table of the accuracy of each network's own head and of the new ones after the last epoch, and of their controls."""
    found = heads(dfr_curves(dfr))
    names = [name for name in found["head"].unique() if name != OWN_HEAD]
    lines = [f"| poison | {OWN_HEAD} | " + " | ".join(f"{name} samples | untrained" for name in names) + " |"]
    lines.append("|---" * (2 + 2 * len(names)) + "|")
    for poison in ordered(found["poison"]):
        of = {row.head: row for row in records(found[found["poison"] == poison])}
        new = [text for name in names for text in (_accuracy(of[name]), f"{of[name].control:.3f}")]
        lines.append(f"| `{poison}` | {_accuracy(of[OWN_HEAD])} | " + " | ".join(new) + " |")
    return "\n".join(lines)


def decided(findings: Findings) -> pd.DataFrame:
    """Return each poison with what plain training on it leaves, and how separable its perturbations are; no rows where nothing was fitted.

    Returns:
        poison; mean ``accuracy`` over seeds; ``separability``, what the linear model reaches on the perturbations that it was fitted to, NaN
        of clean images.
    """
    plain = findings.cells[findings.cells["recovery"] == CONTROL].groupby("poison", sort=False)["accuracy"].mean()
    fits = findings.separability.query("subject == 'perturbations' and fit == 'linear'")
    found = plain.to_frame().assign(separability=fits.groupby("poison")["train_accuracy"].mean()).reset_index()
    return found if len(fits) else found.iloc[:0]


def separabilities(table: pd.DataFrame) -> str:
    """Return the table of ``decided``."""
    lines = ["| poison | linear model on the perturbations | network trained on it |", "|---|---|---|"]
    for row in records(table):
        fitted = "" if pd.isna(row.separability) else f"{row.separability:.3f}"
        lines.append(f"| `{row.poison}` | {fitted} | {row.accuracy:.3f} |")
    return "\n".join(lines)


def _last(runs: Sequence[pd.DataFrame]) -> list[float]:
    return [run["test_accuracy"].iloc[-1] for run in runs]


def _mean(values: Any) -> str:
    return f"{pd.Series(list(values)).mean():.3f}"


def _theirs(results: Sequence[Results]) -> str:
    """Return the list of what others have measured."""
    if not results:
        return "Results of others are welcome: `CONTRIBUTING.md` says how. There are none yet."
    lines = ["## What others have measured", ""]
    for each in results:
        about = each.about
        lines += [
            f"### {about.title}, by {about.by}",
            "",
            _measured_on(each),
            "",
            accuracies(renamed(summary(each.findings), columns(each.findings.cells))),
            "",
        ]
    return "\n".join(lines).rstrip()
