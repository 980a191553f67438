"""Pages of the project that are in its first folder, with their links as the site needs them."""

from docsite import ROOT

PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}


def project_pages() -> dict[str, str]:
    """Return the pages by name, their links changed: ``docs`` is one folder up from ``docs/reference``, and they are beside each other."""
    return {page: _linked((ROOT / file).read_text()) for file, page in PAGES.items()}


def _linked(text: str) -> str:
    for file, page in PAGES.items():
        text = text.replace(f"]({file})", f"]({page})")
    return text.replace("](docs/", "](../")
