"""A study that has begun a run, in a module of its own, which imports little: its processes start at once."""

import multiprocessing
import os
import threading
import time
from pathlib import Path

from unlearnable.study import forks


def begin(file: Path) -> None:
    """Be a study that has begun a run."""
    multiprocessing.get_context("forkserver").Process(target=be_begun, args=(file,)).start()
    time.sleep(60)


def be_begun(file: Path) -> None:
    """Be that run."""
    threading.Thread(target=forks._die_with_the_study, daemon=True).start()
    file.write_text(str(os.getpid()))
    time.sleep(60)
