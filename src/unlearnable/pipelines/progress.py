"""Progress bars of long work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def training_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while a training runs; yield what is called with steps done and steps in all.

    Log lines stand above the bar, since Kedro's log writes to the same console.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=rich.get_console()) as bars:
        task = bars.add_task(f"train on the {label} set", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
