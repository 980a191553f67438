"""The process beside a run that feeds MLflow from its record: ``python -m unlearnable.tracking.feed``.

One line of JSON says what to feed. Anything after that line, and the end of the pipe, says that the run is over, so
it notices a run that was killed too. Then it closes the record of such a run, sends what is left, and ends; after ``wait_s`` it ends
anyway. What it has to say goes to its standard output, each in a line that begins with the number of its level, for the run to log.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from unlearnable.tracking.delivery import Task, close_killed, send, to_send
from unlearnable.tracking.feeder import Feeder
from unlearnable.tracking.record import has_ended, reap
from unlearnable.tracking.server import Server, reason

logger = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


class Beside:
    """Feeds a record until it has its end, and between two looks at it one record of an earlier run."""

    def __init__(self, task: Task) -> None:
        self._record, self._server = Path(task.record), Server(task.uri, Path(task.project))
        self._earlier = self._send_earlier()
        self._has_failed = False

    def feed(self, over: threading.Event) -> None:
        """Feed until ``over`` is set and all is sent."""
        pause = FIRST_PAUSE_S
        with Feeder(self._record, self._server) as feeder:
            while True:
                closing = over.is_set()
                is_fed = self._is_fed(feeder, closing=closing)
                if closing and is_fed and has_ended(self._record):
                    return
                if not closing and is_fed and next(self._earlier, False):
                    continue
                (time.sleep if closing else over.wait)(pause)
                pause = FIRST_PAUSE_S if is_fed else min(2 * pause, LONGEST_PAUSE_S)

    def _is_fed(self, feeder: Feeder, *, closing: bool) -> bool:
        try:
            if closing:
                reap(self._record)  # if the run was killed, this process closes its record
            feeder.feed()
        except Exception as error:  # whatever mlflow raises
            self._warn(error)
            return False
        return True

    def _send_earlier(self) -> Iterator[bool]:
        """Close and send what earlier runs have left; yield True after each."""
        try:
            close_killed(self._record.parent)
            for record in to_send(self._record.parent):
                send(record, self._server)
                yield True
        except Exception as error:  # a later run does it
            logger.debug("earlier runs are not sent: %s", reason(error))

    def _warn(self, error: Exception) -> None:
        """Warn once: a server that is down fails at every event."""
        if not self._has_failed:
            logger.warning("MLflow at %s: %s. The run goes on; what is not sent stays in %s", self._server, reason(error), self._record)
        self._has_failed = True


def main() -> None:
    """Be the process."""
    with os.fdopen(os.dup(0), "rb", buffering=0) as told:
        task = Task(**json.loads(told.readline()))
    _log_to_the_run()
    over = threading.Event()
    threading.Thread(target=_end_with_the_run, args=(over, task.wait_s), daemon=True).start()
    try:
        Beside(task).feed(over)
    except Exception as error:  # its traceback would be lost
        logger.warning("MLflow is not fed any more: %s", reason(error))


def _end_with_the_run(over: threading.Event, wait_s: float) -> None:
    os.read(0, 1)  # returns when the run says that it is over, or has gone
    over.set()
    time.sleep(wait_s)
    os._exit(1)  # a request that hangs would keep the process


def _log_to_the_run() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelno)d %(message)s"))
    ours = logging.getLogger("unlearnable")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    logging.raiseExceptions = False  # a run that was killed hears nothing


if __name__ == "__main__":
    main()
