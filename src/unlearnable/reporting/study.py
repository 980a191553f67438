"""The page of a study: one HTML file that loads no other, with its tables and figures in the same folder."""

import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from unlearnable.artifacts.atomic import write_over
from unlearnable.reporting import rows
from unlearnable.reporting.charts import FIGURES, Drawing, draw
from unlearnable.reporting.findings import KEY, Findings
from unlearnable.reporting.made_on import differences
from unlearnable.reporting.pages import base64_text, rendered
from unlearnable.reporting.peers import comparisons, published, theirs
from unlearnable.reporting.recipes import lines
from unlearnable.reporting.tables import summary, times

KINDS = ("svg", "pdf")
SAID = 6  # how many of many values are listed


def render(findings: Findings) -> str:
    """Return the page; the same findings give the same text."""
    return page(findings, draw(findings, "svg"))


def write(findings: Findings, folder: Path) -> dict[str, Path]:
    """Write the page, the cells and the figures below ``folder``, replacing existing ones.

    A reader sees either the old file or the new one; the page is written last.

    Returns:
        the paths by name: ``report.html``, ``cells.parquet``, and ``figures/<name>.svg`` and ``.pdf`` of each figure that has data.
    """
    drawings = draw(findings, *KINDS)
    table = io.BytesIO()
    findings.cells.to_parquet(table, index=False)
    contents = {f"figures/{name}.{kind}": content for name, drawing in drawings.items() for kind, content in drawing.files.items()}
    contents |= {"cells.parquet": table.getvalue(), "report.html": page(findings, drawings).encode()}
    for name, content in contents.items():
        write_over(folder / name, content)
    for name in FIGURES.keys() - drawings.keys():  # of an earlier report
        for kind in KINDS:
            (folder / f"figures/{name}.{kind}").unlink(missing_ok=True)
    return {name: folder / name for name in contents}


def page(findings: Findings, drawings: Mapping[str, Drawing]) -> str:
    """Return the page with these figures."""
    table, usual, versions = summary(findings), rows.usual(findings), rows.versions(findings)
    compared = comparisons(findings, table)
    return rendered(
        "study.html.j2",
        findings=findings,
        facts=_facts(findings),
        states=findings.unfinished["state"].value_counts(sort=False).to_dict(),
        figures={name: (base64_text(drawing.files["svg"]), drawing.alt) for name, drawing in drawings.items()},
        pictures={caption: base64_text(picture) for caption, picture in findings.pictures.items()},
        threads=_each(findings.cells["threads"]),
        differences=differences(findings),
        accuracy=rows.accuracy(table),
        time=rows.time(times(findings)),
        dfr=rows.dfr(findings),
        separability=rows.separability(findings),
        learnability=rows.learnability(findings),
        peers=published()["peers"],
        theirs=theirs(),
        agreeing=[rows.beside_peers(found, place) for place, found in enumerate(compared) if not found.differences],
        differing=[found for found in compared if found.differences],
        cells=rows.cells(findings, usual, versions),
        usual=lines(usual),
        versions=rows.spelled(versions),
        unfinished=rows.unfinished(findings),
    )


def _facts(findings: Findings) -> dict[str, str]:
    """Return the facts about the whole study, for the top of the page."""
    cells, unfinished = findings.cells, findings.unfinished
    names = pd.concat([cells[list(KEY)], unfinished[list(KEY)]])
    return {
        "cells finished": f"{len(cells):,} of {len(names):,}",
        "poisons": f"{names['poison'].nunique()}",
        "recoveries": f"{names['recovery'].nunique()}",
        "datasets": _each(names["dataset"]),
        "models": _each(names["model"]),
        "seeds": _each(names["seed"].sort_values()),
        "threads": _each(cells["threads"]),
        "commit": _each(cells["commit"]),
    }


def _each(values: pd.Series) -> str:
    """Return each value once; of many, only the first ones."""
    found = list(dict.fromkeys(map(str, values)))
    return ", ".join(found[:SAID]) + (f" and {len(found) - SAID} more" if len(found) > SAID else "") or rows.NOTHING
