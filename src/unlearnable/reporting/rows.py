"""The tables of a study's page: the text of each entry, and the value it is sorted by."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from unlearnable.reporting.findings import Findings
from unlearnable.reporting.made_on import short
from unlearnable.reporting.peers import Comparison, published
from unlearnable.reporting.recipes import Flat, common, difference, flat, lines
from unlearnable.reporting.tables import CONTROL, bounds, curves, fits, heads, records

NOTHING = "\N{EN DASH}"
SHARED = ("dataset", "model", "overrides", "chain", "threads", "commit", "made on", "versions")  # left out if they are equal in all rows
GROUP = ("poison", "recovery", "dataset", "model", "overrides")  # columns of a group, which is averaged over seeds
ERROR_SHOWN = 4000  # last characters of an error: a study may fail in many cells
HASH_SHOWN = 12  # characters; cells.parquet has the whole hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of a table.

    Args:
        text: what is shown.
        value: the number it is sorted by, or None; NaN comes last.
        href: the address that it links to, or "".
        details: the text that it unfolds, or "".
    """

    text: str
    value: float | None = None
    href: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that can be sorted and filtered; the first entry of a row names it."""

    name: str
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Entry]]


def _table(name: str, caption: str, headings: Sequence[str], rows: Sequence[Sequence[Entry]]) -> Table:
    """Return a table without the columns of ``SHARED`` whose rows are all equal; the caption gives their values once."""
    texts = {heading: {row[place].text for row in rows} for place, heading in enumerate(headings)}
    same = {heading: texts[heading].pop() for heading in SHARED if len(texts.get(heading, ())) == 1}
    places = [place for place, heading in enumerate(headings) if heading not in same]
    told = ", ".join(f"{heading} {text}" for heading, text in same.items() if text != NOTHING)
    return Table(
        name=name,
        caption=f"{caption}. In every row: {told}." if told else f"{caption}.",
        headings=[headings[place] for place in places],
        rows=[[row[place] for place in places] for row in rows],
    )


def said(text: Any) -> Entry:
    """Return an entry that is sorted as text; NaN and None become a dash."""
    return Entry(text=NOTHING if pd.isna(text) or text == "" else str(text))


def percent(value: float | None) -> str:
    """Return a fraction in [0, 1] as a percentage."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.1%}"


def spread(mean: float, deviation: float) -> Entry:
    """Return a mean and, if there is one, its deviation, both fractions."""
    return Entry(text=percent(mean) + _plus_minus(deviation), value=mean)


def _plus_minus(deviation: float) -> str:
    return "" if pd.isna(deviation) else f" ± {100 * deviation:.1f}"


def _gain(mean: float, deviation: float) -> Entry:
    """Return a gain in percentage points and, if there is one, its deviation."""
    points = NOTHING if math.isnan(mean) else f"{round(100 * mean, 1) + 0:+.1f}".replace("-", "\N{MINUS SIGN}")
    return Entry(text=points + _plus_minus(deviation), value=mean)


def _interval(low: float, high: float, verdict: Any) -> Entry:
    """Return the interval of a gain in percentage points, with its verdict; with fewer than two pairs, the verdict alone."""
    if math.isnan(low):
        return said(verdict)
    ends = " to ".join(f"{round(100 * end, 1) + 0:+.1f}".replace("-", "\N{MINUS SIGN}") for end in (low, high))
    return Entry(text=f"{ends}: {verdict}", value=low)


def fraction(value: float | None) -> Entry:
    """Return a fraction in [0, 1] as an entry; None becomes a dash."""
    return Entry(text=percent(value), value=math.nan if value is None else value)


def _points(deviation: float) -> Entry:
    return Entry(text=NOTHING if pd.isna(deviation) else f"{100 * deviation:.1f}", value=deviation)


def _number(value: float, form: str = ",.0f") -> Entry:
    return Entry(text=NOTHING if pd.isna(value) else f"{value:{form}}", value=value)


def accuracy(table: pd.DataFrame) -> Table:
    """Return the numbers of the heat map, from ``tables.summary``."""
    headings = (*GROUP, "seeds", "mean", "± sd", "mean peak", "gain over none", "95 % interval", "pairs", "seconds")
    rows = [
        [
            *_named(row),
            _number(row.n),
            fraction(row.mean),
            _points(row.sd),
            fraction(row.peak),
            _gain(row.gain, row.gain_sd),
            _interval(row.low, row.high, row.verdict),
            _number(row.pairs if row.recovery != CONTROL else float("nan")),
            _number(row.seconds, ",.1f"),
        ]
        for row in records(table)
    ]
    caption = "Accuracy on the clean test set over seeds; deviations and gains are in percentage points, gains of pairs of one seed"
    return _table("accuracy", caption, headings, rows)


def time(table: pd.DataFrame) -> Table:
    """Return the numbers of the bars, from ``tables.times``."""
    rows = [
        [
            *map(said, (row.recovery, row.dataset, row.model, row.override)),
            *(_number(ratio, ".2f") for ratio in (row.training + row.recovering, row.training, row.recovering)),
            _number(row.seconds, ",.1f"),
            _number(row.n),
        ]
        for row in records(table)
    ]
    headings = ("recovery", "dataset", "model", "overrides", "whole", "training", "recovery before it", "seconds", "pairs")
    return _table("time", "Time relative to no recovery on the same poison and seed", headings, rows)


def dfr(findings: Findings) -> Table:
    """Return the last epoch of each head."""
    rows = [
        [
            *map(said, (row.poison, row.dataset, row.model, row.override, row.head)),
            fraction(row.control),
            spread(row.mean, row.sd),
            _number(row.n),
        ]
        for row in records(heads(curves(findings.dfr)))
    ]
    headings = ("poison", "dataset", "model", "overrides", "head", "untrained control", "last epoch", "seeds")
    return _table("dfr", "Accuracy of heads on the clean test set", headings, rows)


def separability(findings: Findings) -> Table:
    """Return the accuracy of simple models on the fitted and on the held-out samples."""
    rows = [
        [*map(said, (row.subject, row.dataset, row.override, row.fit)), fraction(row.train_accuracy), fraction(row.held_out_accuracy)]
        for row in records(fits(findings.separability))
    ]
    headings = ("subject", "dataset", "overrides", "fit", "fitted", "held out")
    return _table("separability", "Accuracy of simple models on perturbations alone", headings, rows)


def learnability(findings: Findings) -> Table:
    """Return the bound of certified learnability at each radius."""
    rows = [
        [
            *map(said, (row.poison, row.dataset, row.model, row.override)),
            *(_number(value, "g") for value in (row.deviation, row.quantile, row.radius)),
            spread(row.mean, row.sd),
            fraction(row.plain),
            _number(row.n),
        ]
        for row in records(bounds(findings.learnability))
    ]
    headings = ("poison", "dataset", "model", "overrides", "noise", "quantile", "radius", "bound", "without noise", "seeds")
    return _table(
        "learnability", "What networks within a radius reach at most on the clean test set, under noise on their weights", headings, rows
    )


def beside_peers(comparison: Comparison, place: int) -> Table:
    """Return published figures next to ours; ``place`` numbers the tables."""
    rows, peers = [], published()["peers"]
    for row in records(comparison.rows):
        theirs = [fraction(peer["accuracy"].get(str(row.poison), {}).get(str(row.recovery))) for peer in peers]
        rows.append([said(row.poison), said(row.recovery), spread(row.mean, row.sd), _number(row.n), *theirs])
    headings = ("poison", "recovery", "ours", "seeds", *(f"{peer['name']}, one run" for peer in peers))
    return _table(f"published-{place}", f"Accuracy on the clean test set; ours on {comparison.ours}", headings, rows)


def cells(findings: Findings, usual: Flat, versions: Sequence[str]) -> Table:
    """Return every cell, controls first, with the differences of its recipe from ``usual`` and the number of its set of ``versions``."""
    measured = ("accuracy", "peak", "clean", "poisoned", "recovery s", "training s")
    headings = (*GROUP, "seed", *measured, "run", "recipe", "recipe hash", "score hash", "threads", "commit", "made on", "versions")
    found = findings.cells.sort_values(["poison", "recovery"], key=lambda names: names != CONTROL, kind="stable")
    rows = [_cell(row, usual, versions) for row in records(found)]
    return _table("cells", "Every finished cell; clean and poisoned are trainings without a recovery", headings, rows)


def _cell(row: Any, usual: Flat, versions: Sequence[str]) -> list[Entry]:
    other = {name: value for name, value in difference(flat(row.recipe), usual).items() if name not in KEY_SHOWN}
    return [
        *_named(row),
        _number(row.seed),
        *map(fraction, (row.accuracy, row.peak, row.accuracy_clean, row.accuracy_poisoned)),
        *(_number(seconds, ",.1f") for seconds in (row.seconds_recovery, row.seconds_training)),
        _link(row.run_url),
        Entry(text=f"{len(other)} differ", details=lines(other)) if other else Entry(text="as usual"),
        *(said(value[:HASH_SHOWN]) for value in (row.recipe_hash, row.score_hash)),
        said(row.threads),
        said(row.commit),
        said(short(row.made_on)),
        said("" if len(versions) == 1 else versions.index(row.versions) + 1),
    ]


def _named(row: Any) -> list[Entry]:
    return [said(name) for name in (row.poison, row.recovery, row.dataset, row.model, row.override)]  # as GROUP


KEY_SHOWN = ("dataset", "poison", "recovery", "model", "seed")  # these have their own columns


def _link(address: str) -> Entry:
    """Return a link if the address is a web address; any other scheme stays plain text."""
    if address.startswith(("http://", "https://")):
        return Entry(text="MLflow", href=address)
    return said(address)


def unfinished(findings: Findings) -> Table:
    """Return every cell that is not finished, with the last line of its error."""
    rows = [[*_named(row), said(row.chain), _number(row.seed), said(row.state), _error(row.error)] for row in records(findings.unfinished)]
    headings = (*GROUP, "chain", "seed", "state", "error")
    return _table("unfinished", "Every cell that is not finished", headings, rows)


def _error(text: str) -> Entry:
    told = text.strip()[-ERROR_SHOWN:]
    return Entry(text=told.splitlines()[-1], details=told) if "\n" in told else said(told)


def usual(findings: Findings) -> Flat:
    """Return the most common value of each setting in the recipes, except those that name a cell."""
    found = common([flat(recipe) for recipe in findings.cells["recipe"]])
    return {name: value for name, value in found.items() if name not in KEY_SHOWN}


def versions(findings: Findings) -> list[str]:
    """Return each set of versions once, as JSON text."""
    return list(dict.fromkeys(findings.cells["versions"]))


def spelled(sets: Iterable[str]) -> list[str]:
    """Return each set of versions in words."""
    return [", ".join(f"{name} {_bare(value)}" for name, value in flat(text).items()) or NOTHING for text in sets]


def _bare(text: str) -> str:
    value = json.loads(text)
    return value if isinstance(value, str) else text
