"""What a machine may lack: the packages of an extra, and files of the Hugging Face hub."""

from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from unlearnable.errors import InputError

ANSWER_S = 10.0


def require_package(package: str, extra: str, asked: str) -> None:
    """Raise InputError if a package of one of our extras is not installed.

    Args:
        package: its name in Python.
        extra: which brings it.
        asked: what needs it, as an error calls it.
    """
    if find_spec(package) is None:
        raise InputError(f"{asked}: expected the packages of the extra '{extra}', got no {package}: pip install 'unlearnable[{extra}]'")


def from_hub(repository: str, expected: str, fetch: Callable[[bool], str]) -> Path:
    """Return where a file or a folder of the hub lies on this machine. The hub is asked only for what is not there.

    Args:
        repository: on the hub.
        expected: the first half of an error: which parameter, and what it wants.
        fetch: returns the path; True lets it look on this machine alone, False lets it download.

    Raises:
        InputError: it is not on this machine and cannot be downloaded.
    """
    from huggingface_hub import HfApi

    with suppress(Exception):  # what the hub's client raises where something is not there, each time in its own words
        return Path(fetch(True))
    try:
        HfApi().repo_info(repository, timeout=ANSWER_S)  # asks once, while a download without a network asks for half a minute
        return Path(fetch(False))
    except Exception as error:
        raise InputError(f"{expected} on this machine or on the hub, got none ({' '.join(str(error).split())})") from None
