"""The pages of the documentation that are made from the code, so that they cannot say something else."""

from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; a ``|`` in a cell is escaped, and a line break becomes a blank."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def code(value: object) -> str:
    """Return a value as code, or nothing where it is empty."""
    return f"`{value}`" if str(value) else ""


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring, or nothing."""
    paragraph = " ".join((text or "").strip().partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".").replace("``", "`")
