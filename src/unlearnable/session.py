"""Kedro's session, which ends by a signal as it ends by an error: hooks are told, and what was finished is kept."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from kedro.framework.session import KedroSession

from unlearnable.pipelines.progress import STOP

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedRun(KeyboardInterrupt):
    """A run was asked to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number  # what a shell says of a process that a signal ended


class Session(KedroSession):
    """Kedro's session, with its hooks told of SIGINT and SIGTERM by ``on_pipeline_error``, as of any error."""

    def run(self, *args: Any, **options: Any) -> Any:
        """Run as Kedro does.

        Raises:
            InterruptedRun: after SIGINT or SIGTERM; a second one ends the process at once.
        """
        with _signals_raise():
            try:
                return super().run(*args, **options)
            except KeyboardInterrupt as error:
                self._hook_manager.hook.on_pipeline_error(error=error, run_params={}, pipeline=None, catalog=None)
                raise


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let signals raise InterruptedRun in the block; only the main thread can, in others they stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        STOP.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    for each in SIGNALS:
        signal.signal(each, _end_at_once)
    STOP.set()  # for nodes that run as threads
    for child in multiprocessing.active_children():  # and for those that run as processes
        child.terminate()
    raise InterruptedRun(number)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    os._exit(128 + number)
