"""Which code makes results: the versions of the packages, and the commit of our own source where git has it."""

import platform
import shutil
import subprocess  # for git  # nosec B404
from functools import cache
from importlib.metadata import version
from pathlib import Path

from unlearnable import __version__

PACKAGES = ("kedro", "mlflow", "numpy", "scikit-learn", "torch", "torchvision")
DIRTY = "-dirty"  # the word of git's own ``describe``
LONGEST_S = 10.0  # that git may take on a slow disk


def versions() -> dict[str, str]:
    """Return what results may depend on, by name: versions, and ``commit`` where it is known."""
    found = commit()
    ours = {"unlearnable": __version__} | ({"commit": found} if found else {})
    return ours | {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@cache
def commit() -> str | None:
    """Return the commit of the source of this package, with ``-dirty`` behind it where a file was changed since.

    Returns:
        None if there is no git, or git does not know the source: the package was installed, or is in a repository that ignores it.
    """
    found = _git("rev-parse", "HEAD", "HEAD:./")
    return found.split()[0] + (DIRTY if _git("status", "--porcelain", "--", ".") else "") if found else None


def _git(*arguments: str) -> str | None:
    """Return what git says in the folder of this package; None where it fails."""
    if (git := shutil.which("git")) is None:
        return None
    command = [git, "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)  # no shell  # noqa: S603  # nosec B603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
