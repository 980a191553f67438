"""Who feeds MLflow: a thread of the run itself, that nobody waits for, and ``kedro tracking replay`` afterwards."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from unlearnable.tracking.feeder import Feeder, unsent
from unlearnable.tracking.record import is_live, reap, records
from unlearnable.tracking.server import Server, reason

logger = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
SILENT_S = 2.0  # a wait that is longer says so


class Delivery:
    """Feeds MLflow from one record while its run goes on. The run only calls ``wake``, which takes no time.

    Args:
        prepare: called once, by the thread, before anything is sent.
    """

    def __init__(self, record: Path, server: Server, prepare: Callable[[], None]) -> None:
        self._record = record
        self._server = server
        self._prepare = prepare
        self._news, self._closing, self._stopped = threading.Event(), threading.Event(), threading.Event()
        self._has_failed = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="mlflow-delivery", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new; a process of ParallelRunner's has no thread to say it to."""
        if os.getpid() == self._process:  # in another the event's own lock may have been copied while it was taken
            self._news.set()

    def finish(self, wait_s: float) -> None:
        """Wait for the rest to be sent, but no longer than ``wait_s``; log a warning where something is left."""
        self._closing.set()
        self._news.set()
        try:
            self._thread.join(min(wait_s, SILENT_S))
            if self._thread.is_alive() and wait_s > SILENT_S:
                logger.info("waiting up to %g s for MLflow at %s", wait_s, self._server)
                self._thread.join(wait_s - SILENT_S)
        finally:
            self._stopped.set()
            if left := unsent(self._record):
                how = self._server.replay if self._has_failed else "'kedro tracking replay' sends"
                logger.warning("%d events are not sent to MLflow at %s: %s them", left, self._server, how)

    def _run(self) -> None:
        try:
            with Feeder(self._record, self._server) as feeder:
                self._feed_until_closed(feeder)
        except Exception as error:  # a thread that dies tells nobody
            self._warn(error)

    def _feed_until_closed(self, feeder: Feeder) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopped.is_set():
            self._news.clear()
            closing = self._closing.is_set()
            if self._is_fed(feeder):
                if closing:
                    return
                pause = FIRST_PAUSE_S
                self._news.wait()
            else:
                (self._stopped if closing else self._closing).wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _is_fed(self, feeder: Feeder) -> bool:
        try:
            self._prepare()
            self._prepare = lambda: None
            feeder.feed()
        except Exception as error:
            self._warn(error)
            return False
        return True

    def _warn(self, error: Exception) -> None:
        """Warn once: a server that is down fails at every event."""
        if not self._has_failed and not self._stopped.is_set():
            logger.warning("MLflow at %s: %s. The run goes on; what is not sent stays in %s", self._server, reason(error), self._record)
        self._has_failed = True


def to_send(folder: Path) -> list[Path]:
    """Return the records, the oldest first, that no process writes and of which MLflow lacks something."""
    return [record for record in records(folder) if unsent(record) and not is_live(record)]


def send(record: Path, server: Server) -> bool:
    """Send what MLflow lacks of a record; return False where another process is at it.

    Raises:
        Exception: whatever mlflow raises where the server does not answer.
    """
    try:
        with Feeder(record, server) as feeder:
            feeder.feed()
    except BlockingIOError:
        return False
    return True


def tidy(folder: Path, server: Server | None) -> None:
    """End the records of dead runs and send what is left of earlier runs, in a thread; where that fails, a later run does it."""

    def work() -> None:
        try:
            for record in records(folder):
                if reap(record):
                    logger.info("closed a run that was killed: %s", record.name)
            if server is not None:
                for record in to_send(folder):
                    send(record, server)
        except Exception as error:
            logger.debug("earlier runs are not sent: %s", reason(error))

    threading.Thread(target=work, name="mlflow-tidying", daemon=True).start()
