"""``python -m docsite``: write the generated pages to ``docs/reference`` and the configuration to ``site.yml``; git ignores both."""

import shutil

import yaml

from docsite import ROOT
from docsite.api import api_pages
from docsite.commands import commands_page
from docsite.datasets import catalog_page, environments_page
from docsite.leaderboard import leaderboard_pages
from docsite.lessons import lesson_pages
from docsite.navigation import configuration
from docsite.parameters import parameters_page
from docsite.project import project_pages

FOLDER = ROOT / "docs" / "reference"


def pages() -> dict[str, str]:
    """Return the text of each generated page, by its path in ``docs/reference``."""
    return {
        "parameters.md": parameters_page(),
        "catalog.md": catalog_page(),
        "environments.md": environments_page(),
        "commands.md": commands_page(),
        **leaderboard_pages(),
        **lesson_pages(),
        **api_pages(),
        **project_pages(),
    }


def write() -> None:
    """Write the pages; those of a module that is no longer there are removed."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, text in pages().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text)
    (ROOT / "site.yml").write_text(yaml.safe_dump(configuration((ROOT / "mkdocs.yml").read_text()), sort_keys=False, allow_unicode=True))


if __name__ == "__main__":
    write()
