"""``python -m unlearnable.child PARENT run …``: this project's commands in a process that dies with the one that started it.

A study that is killed must not leave runs behind, which would make what the resumed study makes as well. Kedro's own command line
would first load all plugins, which takes seconds.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of prctl(2), which only Linux has


def die_with(parent: int) -> None:
    """Have this process killed when its parent dies; end it where that was so already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def main() -> None:
    """Run the command after the first argument, which is the process that this one belongs to, in the project's folder."""
    die_with(int(sys.argv.pop(1)))
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(Path.cwd())
    from unlearnable.cli import cli  # reads the pipelines of the configured project

    cli(prog_name="kedro")


if __name__ == "__main__":
    main()
