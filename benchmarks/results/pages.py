"""The section of the results page that is written from committed data, and its figures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

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
GAINS = (
    "What a recovery gains over none, paired by seed. Several pairs have a 95 % interval (Student's t) in brackets,\n"
    "and the gain is bold where that interval excludes zero."
)
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
    shown = [list(_shown(results)) for results in mine]
    text = "\n\n".join([*map(_ours, mine, shown), _theirs(theirs)])
    files = {"README.md": f"{before}{BEGIN}\n\n{text}\n\n{END}{after}".encode()}
    return files | {each.file: each.figure for of_section in shown for each in of_section}


class Shown(NamedTuple):
    """A figure of a section, and the text before it."""

    file: str
    alt: str
    text: str
    figure: bytes


def _shown(results: Results) -> Iterator[Shown]:
    """Yield the figures that there is data for."""
    findings, names = results.findings, columns(results.findings.cells)
    cells, epochs, table = (renamed(each, names) for each in (findings.cells, results.epochs, summary(findings)))
    drawn = draw(replace(findings, cells=cells), "svg")

    def shown(name: str, alt: str, text: str, figure: bytes) -> Shown:
        return Shown(f"figures/{findings.name}-{name}.svg", alt, text, figure)

    said = "\n\n".join(filter(None, [accuracies(table), gains(table)]))
    yield shown("accuracy", "accuracy", said, drawn["accuracy"].files["svg"])
    for counted, points in curves(names).items():
        yield shown(counted, f"accuracy by {counted}", "", curve_figure(cells, counted, points))
    if len(epochs):
        yield shown("epochs", "accuracy after each epoch", peaks(epochs), epochs_figure(epochs))
    if len(findings.dfr):
        yield shown("dfr", "accuracy of new heads after each epoch", new_heads(findings.dfr), drawn["dfr"].files["svg"])
    if len(beside := decided(findings)):
        yield shown("separability", "accuracy against separability", separabilities(beside), scatter_figure(beside))


def _ours(results: Results, shown: Sequence[Shown]) -> str:
    about = results.about
    parts = [f"## {about.title}", "\n".join(f"    {command}" for command in about.commands), _measured_on(results), about.notes.strip()]
    for each in shown:
        parts += [each.text, f"![{each.alt}]({each.file})"]
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
    return _by_recovery("poison", table, _accuracy)


def _by_recovery(corner: str, table: pd.DataFrame, told: Callable[[Any], str]) -> str:
    """Return a table with a line a poison and a column a recovery, of what is told of each row."""
    recoveries, found = ordered(table["recovery"]), {(row.poison, row.recovery): told(row) for row in records(table)}
    lines = [f"| {corner} | " + " | ".join(f"`{name}`" for name in recoveries) + " |", "|---" * (len(recoveries) + 1) + "|"]
    for poison in ordered(table["poison"]):
        lines.append(f"| `{poison}` | " + " | ".join(found.get((poison, name), "") for name in recoveries) + " |")
    return "\n".join(lines)


def _accuracy(row: Any) -> str:
    if not row.n:
        return ""
    return f"{row.mean:.3f}" + (f" ± {row.sd:.3f}" if row.n > 1 else "")


def gains(table: pd.DataFrame) -> str:
    """Return a table of what each recovery gains on each poison that has a control, and whether that is more or less than nothing."""
    measured = table[table["recovery"] != CONTROL].dropna(subset=["gain"])
    return f"{GAINS}\n\n{_by_recovery('gain on', measured, _gain)}" if len(measured) else ""


def _gain(row: Any) -> str:
    """Return a gain, bold where its interval excludes zero."""
    if row.pairs < LAST:
        return f"{row.gain:+.3f}"
    said = f"**{row.gain:+.3f}**" if row.verdict in ("more", "less") else f"{row.gain:+.3f}"
    return f"{said} ({row.low:+.3f} to {row.high:+.3f}; {row.pairs} pairs)"


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
        poison; mean ``accuracy`` over seeds; ``separability``, what the linear model reaches on the perturbations that it was fitted to,
        NaN for clean images.
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
