"""Names of files and folders: what they decide is the same in every locale and on every system."""

import os
from pathlib import Path
from unicodedata import normalize


def text(name: str) -> str:
    r"""Return the name of a file as text that is the same in every locale, and in the Unicode form NFC, which macOS does not keep to.

    Names are bytes: those that are no UTF-8 become ``\xe9``, since no terminal and no JSON takes them.
    """
    return normalize("NFC", shown(name))


def shown(path: str | Path) -> str:
    """Return a path as messages show it, in the form that it has on the disk."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:  # a path that somebody wrote, with a letter that this locale does not have
        name = str(path).encode(errors="surrogateescape")
    return name.decode(errors="backslashreplace")
