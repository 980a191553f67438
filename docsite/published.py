"""What others published: tables of poisons by recoveries, each with its source and how it was measured."""

from dataclasses import dataclass
from typing import Any

import yaml

from docsite import ROOT
from unlearnable.reporting.peers import published as compared_with_studies

ELSEWHERE = ROOT / "docs" / "results" / "published.yml"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published table.

    Args:
        name: of the benchmark or paper.
        source: where the table is, in words.
        link: to it.
        date: of the table.
        setting: how it was measured, in words.
        dataset, images, model: what it was measured on.
        figures: by poison and recovery, as text: ``0.136``, ``0.137 ± 0.018``, or ``above 0.87``.
    """

    name: str
    source: str
    link: str
    date: str
    setting: str
    dataset: str
    images: int
    model: str
    figures: dict[tuple[str, str], str]

    @property
    def title(self) -> str:
        """The name, with the dataset."""
        return f"{self.name}, {self.dataset}"


def published() -> list[Published]:
    """Return every published table: first those that studies are compared with, then those measured on other terms."""
    found = compared_with_studies()
    compared = [peer | {"measured_on": found["measured_on"]} for peer in found["peers"]]
    return [_table(**about) for about in [*compared, *yaml.safe_load(ELSEWHERE.read_text(encoding="utf-8"))]]


def _table(*, accuracy: dict[str, dict[str, Any]], measured_on: dict[str, Any], **about: str) -> Published:
    figures = {(poison, recovery): _figure(value) for poison, row in accuracy.items() for recovery, value in row.items()}
    return Published(**about, **measured_on, figures=figures)


def _figure(value: str | float | list[float]) -> str:
    if isinstance(value, str):
        return value
    return " ± ".join(f"{number:.3f}" for number in (value if isinstance(value, list) else [value]))
