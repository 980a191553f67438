"""What each case led to, as a table in the terminal and as a page of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROW, FUZZED = "malformed input", "damaged bytes"  # properties of tests
PAGE = Path(__file__).parents[2] / "docs" / "reliability-inputs.md"
HEAD = """# What a malformed input leads to

Each row is one test of `tests/faults/test_inputs.py`. Where there is an exit code, the command is run on that input and ends with
that code and that one line; where there is none, what the command asks to read the input raises that line as its error. Neither
leaves a new file in the data folder, anything outside of the project or a record of a run without its end.
Written by `python -m pytest tests/faults/test_inputs.py --write-table`.

| # | input | exit | message |
|---|---|---|---|
"""
SAME_EVERYWHERE = (
    (r"\d{4}-\d\d-\d\dT[\d.]+Z(-[0-9a-f]+)?", "VERSION"),
    (r"\b[0-9a-f]{12}\b", "HASH"),
    (r"x{50,}", "xxx…"),
    (r"known: [^()]+(?= \(|$)", "known: …"),
    (r"^Error: ", ""),
)


@dataclass(frozen=True)
class Row:
    """What came of one case."""

    number: int
    what: str
    exit_code: int | None
    message: str


def without_places(message: str, folder: Path) -> str:
    """Return a message as it is on every machine and on every day."""
    message = message.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
    for pattern, name in SAME_EVERYWHERE:
        message = re.sub(pattern, name, message)
    return message


def page(rows: list[Row]) -> str:
    """Return the table in Markdown."""
    cells = (f"| {row.number} | {row.what} | {row.exit_code or ''} | `{row.message.replace('|', '/')}` |\n" for row in rows)
    return HEAD + "".join(cells)
