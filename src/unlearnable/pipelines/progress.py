"""Progress of long work: a bar in the terminal, and a log record for each round of a crafting or epoch that is probed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unlearnable.interrupts import answer

logger = logging.getLogger(__name__)


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while something runs; yield what is called with steps done and steps in all.

    Log lines stand above the bar, since Kedro's log writes to the same console.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=rich.get_console()) as bars:
        task = bars.add_task(label, total=None)

        def show(done: int, total: int) -> None:
            answer()
            bars.update(task, completed=done, total=total)

        yield show


def log_round(work: str, unit: str, number: int, measured: dict[str, float]) -> None:
    """Log what was measured in a round of a crafting, or at an epoch that is probed; the tracker listens to these records."""
    text = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measured.items())
    logger.info("%s: %s %d, %s", work, unit, number, text, extra={"work": work, "number": number, "measured": measured})
