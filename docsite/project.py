"""Pages of the project that stand in its first folder, with their links as the site needs them."""

from docsite import ROOT

PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def project_pages() -> dict[str, str]:
    """Return the pages by name; what they link to in ``docs`` is one folder up from ``docs/reference``."""
    return {page: (ROOT / file).read_text().replace("](docs/", "](../") for file, page in PAGES.items()}
