"""The leaderboard: every committed cell, ours and others', beside what was published."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from docsite import ROOT, code, table
from docsite.entries import Entry, accuracy, anchor, cells_of, entries_in, recipe_of
from docsite.published import Published, published
from docsite.recipes import recipes_page
from unlearnable.reporting.peers import published as compared_with_studies
from unlearnable.reporting.peers import theirs
from unlearnable.reporting.tables import PANEL, ordered, records

RESULTS = ROOT / "docs" / "results"
FILTERS = "poison recovery network images by"  # columns that a reader may filter by
INTRODUCTION = """---
hide: [toc] # the tables need the room
---

# Leaderboard

Accuracy on the clean test set, for each poison, recovery and network that was measured. **Low** means that the protection holds; near
the clean network means that the recovery undoes it. Every figure is the mean over seeds after the last epoch, ± the sample's standard
deviation, with the number of seeds in brackets. One seed has no deviation, and says nothing about spread.

A figure links to its recipe, its command and each of its seeds. *Figures in italics are others'*: they were published, not measured here.

`highest` is what the best of the measured recoveries learns from a poison: judge a protection by that. A recovery that was not measured may
learn more.
"""
ROWS = """
## All rows

Choose a value below a heading, or click on a heading to sort.

"""
PUBLISHED = """
## What others published

Nobody measured these figures with this project. A published figure can be compared with ours only if dataset, number of images, network and
training recipe agree; the table above shows it beside ours in any case, in italics. {terms}
"""
HOW = """
## Add your own

1. Run a [study](../concepts/studies.md) with your poison, recovery or network, and more than one seed.
2. Collect it: `python -m benchmarks.results --collect STUDY --env ENV --into docs/results/submissions/NAME --commit HASH`.
3. Write `about.yml` beside it, as [Contributing](contributing.md#results-of-others) says.
4. Check it: `python -m benchmarks.results --check docs/results/submissions/NAME`.
5. Open a pull request, or an issue with the form "A result". This page gets your rows when it is next built.

A method that cannot become part of this project may be released as a file: see [your own poison](../how-to/evaluate-your-poison.md).
"""


def leaderboard_pages(root: Path = RESULTS) -> dict[str, str]:
    """Return the leaderboard and a page for each folder of results in ``data`` and ``submissions`` of ``root``.

    Raises:
        InputError: a folder is not as it should be; one line says which file and what was expected.
    """
    found = entries_in(root)
    others = published()
    return {"leaderboard.md": _board(found, others), **{entry.page: recipes_page(entry) for entry in found}}


def _board(entries: Sequence[Entry], others: Sequence[Published]) -> str:
    text = INTRODUCTION + "".join(_matrices(entry) for entry in entries)
    text += ROWS + _sortable(_rows(entries, others), filters=FILTERS) + "\n" + "\n".join(_terms(entries)) + "\n"
    text += "\n## Entries\n\n" + table(["entry", "by", "machine", "until", "commit", "networks", "cells", "seeds"], map(_line, entries))
    text += PUBLISHED.format(terms=f"APBench and ISS measured {theirs()}.")
    return text + "".join(map(_published, others)) + HOW


def _line(entry: Entry) -> list[str]:
    about, cells = entry.results.about, entry.results.findings.cells
    seeds, networks = (", ".join(map(str, sorted(cells[column].unique()))) for column in ("seed", "model"))
    return [
        f"[{about.title}]({entry.page})",
        about.by,
        about.machine,
        str(about.measured),
        about.commit,
        code(networks),
        str(len(cells)),
        seeds,
    ]


# ---- poisons by recoveries


def _matrices(entry: Entry) -> str:
    return "".join(_matrix(entry, rows) for _, rows in entry.means.groupby(PANEL, sort=False))


def _matrix(entry: Entry, rows: pd.DataFrame) -> str:
    """Return poisons by recoveries of one network on one dataset."""
    recoveries = ordered(rows["recovery"])
    cells = {(row.poison, row.recovery): row for row in records(rows)}
    body = []
    for poison in ordered(rows["poison"]):
        found = [cells.get((poison, recovery)) for recovery in recoveries]
        best = max((row for row in found if row), key=lambda row: row.mean)
        measured = [f"[{accuracy(row)}]({entry.page}#{anchor(row)})" if row else "" for row in found]
        body.append([code(poison), *measured, f"{best.mean:.3f}, {best.recovery.replace('_', ' ')}"])
    first = next(records(rows))
    label = f", {first.override}" if first.override else ""
    title = f"\n## {first.model} on {first.dataset}{label}: {entry.results.about.title}\n"
    return title + "\n" + _sortable((["poison", *map(code, recoveries), "highest"], body))


# ---- a row a combination


def _rows(entries: Sequence[Entry], others: Sequence[Published]) -> tuple[list[str], list[list[str]]]:
    headings = ["poison", "recovery", "network", "images", "accuracy", "clean network", "published by others", "by", "recipe"]
    return headings, [_row(entry, row, others) for entry in entries for row in records(entry.means)]


def _row(entry: Entry, row: Any, others: Sequence[Published]) -> list[str]:
    label = f" ({row.override})" if row.override else ""
    figures = [f"*{each.name} {each.figures[row.poison, row.recovery]}*" for each in others if _beside(entry, row, each)]
    return [
        code(row.poison),
        code(row.recovery) + label,
        code(row.model),
        f"{row.dataset}, {_images(entry, row)}",
        accuracy(row),
        f"{row.clean:.3f}" if pd.notna(row.clean) else "",
        ", ".join(figures),
        entry.results.about.by,
        f"[recipe]({entry.page}#{anchor(row)})",
    ]


def _beside(entry: Entry, row: Any, other: Published) -> bool:
    """Return whether a table has a figure of that poison and recovery, with the recovery's settings as far as the project checks them."""
    pair = row.poison, row.recovery
    checked = any(pair[1] in peer["accuracy"].get(pair[0], {}) for peer in compared_with_studies()["peers"])
    agrees = any((each.poison, each.recovery) == pair for found in entry.comparisons for each in records(found.rows))
    return row.dataset == other.dataset and pair in other.figures and (agrees or not checked)


def _images(entry: Entry, row: Any) -> str:
    size = recipe_of(next(records(cells_of(entry, row)))).get("ingest.train_size", "null")
    return "all" if size == "null" else f"{int(size):,}"


def _terms(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield why published figures beside ours are not comparable with them, or that they are."""
    for entry in entries:
        for found in entry.comparisons:
            said = (
                f"differs from APBench and ISS in {', '.join(found.differences)}"
                if found.differences
                else "is measured as APBench and ISS are"
            )
            yield f"- {entry.results.about.title} ({found.ours}) {said}."


# ---- published tables


def _published(other: Published) -> str:
    recoveries = ordered(recovery for _, recovery in other.figures)
    poisons = ordered(poison for poison, _ in other.figures)
    body = [[code(poison), *(_italics(other.figures.get((poison, recovery), "")) for recovery in recoveries)] for poison in poisons]
    about = f"[{other.source}]({other.link}), {other.date}: {other.images:,} images, `{other.model}`; {other.setting}."
    return f"\n### {other.title}\n\n{about}\n\n" + _sortable((["poison", *map(code, recoveries)], body))


def _italics(text: str) -> str:
    return f"*{text}*" if text else ""


def _sortable(content: tuple[list[str], list[list[str]]], *, filters: str = "") -> str:
    """Return a table that ``tables.js`` sorts, and filters by the named columns."""
    chosen = f' data-filters="{filters}"' if filters else ""
    return f'<div class="board" markdown{chosen}>\n\n{table(*content)}\n</div>\n'
