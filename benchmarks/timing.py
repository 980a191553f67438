"""What the benchmarks share: contestants take turns in one run, and medians are compared."""

import platform
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def machine() -> str:
    """Return one line that says what was measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def copied_project(folder: Path) -> Path:
    """Return a new folder with this project's code and configuration."""
    folder.mkdir(parents=True)
    for name in ("conf", "src", "pyproject.toml", ".telemetry"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    return folder


def in_turns(contestants: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Run every contestant once a round, in turn, and return the median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
