"""The configuration of the site, with the navigation of folders whose pages are not typed: ``adr/*.md`` and ``reference/api/*.md``."""

from pathlib import Path
from typing import Any

import yaml

from docsite import ROOT

DOCS = ROOT / "docs"


def configuration(text: str) -> dict[str, Any]:
    """Return the configuration that ``mkdocs.yml`` holds, each pattern in its navigation replaced by the pages that it finds."""
    found: dict[str, Any] = yaml.safe_load(text)
    return found | {"nav": _expanded(found["nav"])}


def title(page: Path) -> str:
    """Return the first heading of a page."""
    return next(line.removeprefix("# ") for line in page.read_text().splitlines() if line.startswith("# "))


def _expanded(entries: list[Any]) -> list[Any]:
    expanded: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            expanded += [{name: _expanded(inner) if isinstance(inner, list) else inner} for name, inner in entry.items()]
        elif "*" in entry:
            expanded += [{title(page): str(page.relative_to(DOCS))} for page in sorted(DOCS.glob(entry)) if page.stem != "index"]
        else:
            expanded.append(entry)
    return expanded
