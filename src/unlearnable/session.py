"""Kedro's session, which ends after a signal as after an error: hooks are called, and finished results are kept."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession

from unlearnable import interrupts
from unlearnable.config.settings import left_out
from unlearnable.config.validation import check

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Session(KedroSession):
    """Kedro's session, which checks parameters first, and calls its hooks after SIGINT and SIGTERM as after any error."""

    _is_running = False

    def run(self, *args: Any, **options: Any) -> Any:
        """Run as Kedro does.

        Raises:
            InputError: a parameter is wrong; nothing slow has been imported, and nothing recorded.
            InterruptedRun: after SIGINT or SIGTERM; a second one ends the process at once.
        """
        self._is_running = True
        with _signals_end_it():
            try:
                return super().run(*args, **options)
            except KeyboardInterrupt as error:
                asked = interrupts.own(error)
                self._hook_manager.hook.on_pipeline_error(error=asked, run_params={}, pipeline=None, catalog=None)
                raise asked from None

    def load_context(self) -> KedroContext:
        """Return the context; its parameters are checked when a run needs it, before the catalog imports torch."""
        context = super().load_context()
        if self._is_running:
            check(context.config_loader["parameters"])
            for line in left_out():
                logger.warning(line)
            logger.info("the parameters are right; importing torch takes some seconds")
        return context


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let signals end the block by InterruptedRun; only the main thread can, in others they stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _ask_to_end) for number in SIGNALS}
    try:
        yield
    finally:
        interrupts.withdraw()
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask_to_end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    for each in SIGNALS:
        signal.signal(each, _end_at_once)
    interrupts.request(number)
    for child in multiprocessing.active_children():  # nodes that run as processes have this handler too
        child.terminate()


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    for child in multiprocessing.active_children():  # an idle one would wait for work for ever
        child.kill()
    os._exit(128 + number)
