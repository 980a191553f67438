"""The section of the results page that is written from committed data, and its figures."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from docsite import code, table

from benchmarks.results.columns import Columns, columns, curves, renamed
from benchmarks.results.curves import curve_figure, epochs_figure, samples_figure, scatter_figure
from benchmarks.results.data import ABOUT, About, Results, folders, read
from benchmarks.timing import ROOT
from unlearnable.errors import InputError
from unlearnable.reporting.charts import draw
from unlearnable.reporting.findings import Findings
from unlearnable.reporting.tables import CONTROL, GROUP, OWN_HEAD, ordered, records, summary
from unlearnable.reporting.tables import curves as dfr_curves

RESULTS = ROOT / "docs" / "results"
PAGE, OURS, OTHERS = RESULTS / "README.md", RESULTS / "data", RESULTS / "submissions"
BEGIN, END = "<!-- written by make results -->", "<!-- the end of what make results writes -->"
GAINS = (
    "Gains over `{over}`, paired by seed. Several pairs have a 95 % interval (Student's t) in brackets,\n"
    "and the gain is bold where that interval excludes zero."
)
HOW = "**How it was measured.**"
FIGURE = re.compile(r"\b\d\.\d{3}\b")
BEST_HEADS = (
    "The same after the best epoch, which is in brackets. It is chosen on the test set, so these are the most that a new head could reach:"
)
PUBLISHED_SAMPLES = 5_000  # of new heads, whose accuracy is drawn after each epoch
MOST_COLUMNS = 10  # that a heat map, or the lines of a panel, can show
LEAST_RANKED = 5  # poisons of a correlation


class Shown(NamedTuple):
    """A figure of a section, or None, and the text before it."""

    name: str
    alt: str
    text: str
    figure: bytes | None


def written(page: str, ours: Path = OURS, others: Path = OTHERS) -> dict[str, bytes]:
    """Return the files that ``make results`` writes below ``docs/results``, by name: the page, with its section anew, and the figures.

    Raises:
        InputError: the page has no such section, or data is not as it should be.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{PAGE}: expected the section between '{BEGIN}' and '{END}', got none")
    mine, theirs = [checked(folder) for folder in folders(ours)], [checked(folder) for folder in folders(others)]
    text = "\n\n".join([*(_ours(*found) for found in mine), _theirs([results for results, _ in theirs])])
    files = {"README.md": f"{before}{BEGIN}\n\n{text}\n\n{END}{after}".encode()}
    return files | {_file(results, each): each.figure for results, shown in mine for each in shown if each.figure}


def checked(folder: Path) -> tuple[Results, list[Shown]]:
    """Return the results in a folder, and what is shown of them.

    Raises:
        InputError: a table is not as it should be, or a finding has a figure that no table has, as when the data has changed since.
    """
    results = read(folder)
    shown = list(_shown(results))
    measured = {figure for each in shown for figure in FIGURE.findall(each.text)}
    for sentence in results.about.findings:
        for figure in FIGURE.findall(sentence):
            if figure not in measured:
                raise InputError(f"{folder / ABOUT}: findings: expected figures from the tables, got {figure} in '{sentence}'")
    return results, shown


def _shown(results: Results) -> Iterator[Shown]:
    """Yield the figures that there is data for."""
    findings, names = results.findings, columns(results.findings.cells)
    cells = renamed(findings.cells, names)
    shortened = replace(findings, cells=cells, dfr=_published(findings.dfr))
    drawn = {name: each.files["svg"] for name, each in draw(shortened, "svg", only=("accuracy", "dfr")).items()}
    count = len(set(cells["recovery"]))
    readable = count <= MOST_COLUMNS
    a_map = readable and min(count, len(set(cells["poison"]))) > 1
    yield Shown("accuracy", "accuracy", _tables(findings, cells, names), drawn["accuracy"] if a_map else None)
    for counted, points in curves(names).items():
        yield Shown(counted, f"accuracy by {counted}", "", curve_figure(cells, counted, points))
    if len(epochs := renamed(results.epochs, names)):
        yield Shown("epochs", "accuracy after each epoch", peaks(epochs), epochs_figure(epochs) if readable else None)
    yield from _of_heads(findings.dfr, drawn)
    if len(beside := decided(findings)):
        yield Shown("separability", "accuracy against separability", separabilities(beside), scatter_figure(beside))


def _tables(findings: Findings, cells: pd.DataFrame, names: Columns) -> str:
    """Return the tables of accuracies and of gains: over no recovery or, where nothing is recovered, over the first override."""
    means = renamed(summary(findings), names)
    plain = set(findings.cells["recovery"]) == {CONTROL}
    return "\n\n".join(filter(None, [accuracies(means), over_first(findings, cells) if plain else gains(means)]))


def _of_heads(dfr: pd.DataFrame, drawn: Mapping[str, bytes]) -> Iterator[Shown]:
    if len(dfr):
        yield Shown("dfr", "accuracy of new heads after each epoch", new_heads(dfr), drawn["dfr"])
    if len(dfr["clean_samples"].unique()) > 1:
        yield Shown("samples", "accuracy of new heads by clean samples", "", samples_figure(dfr))


def _published(dfr: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the number of clean samples that comes nearest to the published one."""
    away = (dfr["clean_samples"] - PUBLISHED_SAMPLES).abs()
    return dfr[away == away.min()]


def _ours(results: Results, shown: Sequence[Shown]) -> str:
    about = results.about
    commands = "\n".join(f"    {command}" for command in about.commands)
    parts = [f"## {about.title}", _found(about), _measured_on(results)]
    for each in shown:
        parts += [each.text, f"![{each.alt}]({_file(results, each)})" if each.figure else ""]
    return "\n\n".join(filter(None, [*parts, HOW, about.notes.strip(), commands]))


def _file(results: Results, shown: Shown) -> str:
    return f"figures/{results.findings.name}-{shown.name}.svg"


def _found(about: About) -> str:
    return "\n".join(f"- {sentence}" for sentence in about.findings)


def _measured_on(results: Results) -> str:
    cells, about = results.findings.cells, results.about
    seeds, networks = (", ".join(map(str, sorted(cells[column].unique()))) for column in ("seed", "model"))
    return (
        f"Cells: {len(cells)}; network: `{networks}`; seeds: {seeds}; commit {about.commit}, {about.machine}, until {about.measured}. "
        "Accuracy on the clean test set after the last epoch; where there are several seeds, mean ± the sample's deviation."
    )


def accuracies(means: pd.DataFrame) -> str:
    """Return the table of poisons by recoveries; what has no cell is empty."""
    return _by_recovery("poison", means, _accuracy)


def _by_recovery(corner: str, measured: pd.DataFrame, told: Callable[[Any], str]) -> str:
    """Return a table of what is told of each poison and recovery: a line a poison, or a line a recovery where there are many more."""
    lines, columns, names = ordered(measured["poison"]), ordered(measured["recovery"]), ["poison", "recovery"]
    if len(columns) > len(lines) + 1:
        lines, columns, names, corner = columns, lines, names[::-1], corner.replace("poison", "recovery")
    found = {key: told(row) for key, row in zip(measured[names].itertuples(index=False, name=None), records(measured), strict=True)}
    return _table([corner, *map(code, columns)], [[code(line), *(found.get((line, name), "") for name in columns)] for line in lines])


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(headings, rows).rstrip()


def _accuracy(row: Any) -> str:
    if not row.n:
        return ""
    return f"{row.mean:.3f}" + (f" ± {row.sd:.3f}" if row.n > 1 else "")


def gains(means: pd.DataFrame, over: str = CONTROL) -> str:
    """Return a table of what each recovery gains on each poison that has a control, and whether that is more or less than nothing."""
    measured = means[means["recovery"] != CONTROL].dropna(subset=["gain"])
    return f"{GAINS.format(over=over)}\n\n{_by_recovery('gain', measured, _gain)}" if len(measured) else ""


def over_first(findings: Findings, cells: pd.DataFrame) -> str:
    """Return the table of gains of trainings without a recovery, under several overrides, over those under the first one."""
    first = cells["recovery"].iloc[0]
    return gains(summary(replace(findings, cells=cells.replace({"recovery": {first: CONTROL}}))), over=first)


def _gain(row: Any) -> str:
    """Return a gain, bold where its interval excludes zero."""
    if row.pairs < 2:
        return f"{row.gain:+.3f}"
    said = f"**{row.gain:+.3f}**" if row.verdict in ("more", "less") else f"{row.gain:+.3f}"
    return f"{said} ({row.low:+.3f} to {row.high:+.3f}; {row.pairs} pairs)"


def peaks(epochs: pd.DataFrame) -> str:
    """Return a table of when each poison wins: the best epoch of training on it without a recovery, and the last one."""
    plain = epochs[epochs["recovery"] == CONTROL].sort_values("epoch", kind="stable")
    lines = []
    for poison in ordered(plain["poison"]):
        runs = [run for _, run in plain[plain["poison"] == poison].groupby([*GROUP, "seed"], sort=False)]
        best = [run.loc[run["test_accuracy"].idxmax()] for run in runs]
        when = ", ".join(f"{row['epoch']} of {run['epoch'].max()}" for row, run in zip(best, runs, strict=True))
        lines.append([code(poison), when, _mean(row["test_accuracy"] for row in best), _mean(_last(runs))])
    return _table(["poison, no recovery", "best epoch", "accuracy then", "after the last epoch"], lines) if lines else ""


def new_heads(dfr: pd.DataFrame) -> str:
    """Return a table of what each network's own head and new ones reach after the last epoch, and one of their best epochs."""
    found = dfr_curves(dfr).sort_values("epoch", kind="stable")
    trained = found[found["epoch"] > 0].groupby(["poison", "head"], sort=False)["mean"]
    last, best = found.loc[trained.tail(1).index], found.loc[trained.idxmax()]
    untrained = found[found["epoch"] == 0].groupby("head")["mean"].mean()  # no poison has changed it
    return "\n\n".join([_heads(last, untrained, _accuracy), BEST_HEADS, _heads(best, untrained, _best)])


def _heads(rows: pd.DataFrame, untrained: "pd.Series[float]", told: Callable[[Any], str]) -> str:
    """Return a table with a line a poison and a column a head, of what is told of each row; and what the untrained network reaches."""
    names, found = list(rows["head"].unique()), {(row.poison, row.head): told(row) for row in records(rows)}
    lines = [["nothing", *(f"{untrained[name]:.3f}" for name in names)]]
    lines += [[code(poison), *(found[poison, name] for name in names)] for poison in ordered(rows["poison"])]
    return _table(["trained on", *(name if name == OWN_HEAD else f"{name} samples" for name in names)], lines)


def _best(row: Any) -> str:
    return f"{row.mean:.3f} ({row.epoch})"


def decided(findings: Findings) -> pd.DataFrame:
    """Return each poison with what plain training on it leaves, and how separable its perturbations are; no rows where nothing was fitted.

    Returns:
        poison; mean ``accuracy`` over seeds; ``separability`` and ``held_out``, what the linear model reaches on the perturbations that it
        was fitted to and on others, NaN for clean images.
    """
    plain = findings.cells[findings.cells["recovery"] == CONTROL].groupby("poison", sort=False)["accuracy"].mean()
    fits = findings.separability.query(f"subject == 'perturbations' and fit == 'linear' and poison != '{CONTROL}'").groupby("poison")
    found = plain.to_frame().assign(separability=fits["train_accuracy"].mean(), held_out=fits["held_out_accuracy"].mean()).reset_index()
    return found if len(fits) else found.iloc[:0]


def separabilities(beside: pd.DataFrame) -> str:
    """Return the table of ``decided``, and the rank correlation of separability with what training leaves."""
    lines = [[code(row.poison), *map(_fraction, (row.separability, row.held_out, row.accuracy))] for row in records(beside)]
    written = _table(["poison", "linear model on the perturbations", "on held-out ones", "network trained on it"], lines)
    poisons = beside.dropna()
    if len(poisons) < LEAST_RANKED:
        return written
    ranks = poisons[["separability", "held_out", "accuracy"]].corr("spearman")["accuracy"]
    said = f"{ranks['separability']:+.3f}, and {ranks['held_out']:+.3f} on held-out perturbations"
    return f"{written}\n\nSpearman's rank correlation with the last column, {len(poisons)} poisons: {said}."


def _fraction(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _last(runs: Sequence[pd.DataFrame]) -> list[float]:
    return [run["test_accuracy"].iloc[-1] for run in runs]


def _mean(values: Any) -> str:
    return f"{pd.Series(list(values)).mean():.3f}"


def _theirs(results: Sequence[Results]) -> str:
    """Return the list of what others have measured."""
    if not results:
        return "Results of others are welcome: `CONTRIBUTING.md` says how. There are none yet."
    parts = ["## What others have measured"]
    for each in results:
        means = renamed(summary(each.findings), columns(each.findings.cells))
        parts += [f"### {each.about.title}, by {each.about.by}", _found(each.about), _measured_on(each), accuracies(means)]
    return "\n\n".join(filter(None, parts))
