"""What each case led to, as a table in the terminal and as a page of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROW, FUZZED = "malformed input", "damaged bytes"  # properties of tests
PAGE = Path(__file__).parents[2] / "docs" / "reliability-inputs.md"
HEAD = """# What a malformed input leads to

Each row is one test of `tests/faults/test_inputs.py`. If a row has an exit code, the test runs the command on that input, and the command
ends with that code and one line. Otherwise the test calls only the code that reads the input, which raises an error with that line. In
neither case is there a new file in the data folder, a file outside the project, or a record of a run without its end.
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
