"""The background process that sends the records of a run or a study to MLflow: ``python -m unlearnable.tracking.feed``.

One line of JSON on standard input says what to send. Any further input, or the end of the pipe, means that the run is over, so the
process notices a killed run too. It then closes the record of a killed run, sends what is left and ends; after ``wait_s`` it ends in any
case. Its messages go to standard output, one per line, each after the number of its level; the run logs them.
A study has one such process for all of its runs, because importing mlflow alone takes seconds of CPU.
"""

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from unlearnable.tracking.delivery import Task, close_killed, send
from unlearnable.tracking.feeder import Feeder, unsent
from unlearnable.tracking.record import has_ended, reap, records
from unlearnable.tracking.server import Server, reason

logger = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
NICE = 10  # at 19 its imports would take minutes where every core is busy


class Beside:
    """Sends the records at a place, and warns only at the first failure: with a server that is down, every event fails."""

    def __init__(self, place: Path, server: Server) -> None:
        self._place, self._server = place, server
        self._has_failed = False

    def _is_done(self, feed: Callable[[], object]) -> bool:
        try:
            feed()
        except Exception as error:  # mlflow may raise anything
            if not self._has_failed:
                left = f"The run continues; what is not sent stays in {self._place}"
                logger.warning("MLflow at %s: %s. %s", self._server, reason(error), left)
            self._has_failed = True
            return False
        return True


class BesideRun(Beside):
    """Sends one record until it is complete. Between two checks for new events it sends one record of an earlier run."""

    def feed(self, over: threading.Event) -> None:
        """Feed until ``over`` is set and all is sent."""
        pause, earlier = FIRST_PAUSE_S, self._send_earlier()
        with Feeder(self._place, self._server) as feeder:
            while True:
                closing = over.is_set()
                if closing:
                    self._is_done(lambda: reap(self._place))  # if the run was killed, this process closes its record
                is_fed = self._is_done(feeder.feed)
                if closing and is_fed and has_ended(self._place):
                    return
                if not closing and is_fed and next(earlier, False):
                    continue
                pause = FIRST_PAUSE_S if is_fed else min(2 * pause, LONGEST_PAUSE_S)
                (time.sleep if closing else over.wait)(pause)

    def _send_earlier(self) -> Iterator[bool]:
        """Close and send the records that earlier runs left; yield whether one more is done. One in use is tried again later."""
        left = deque(record for record in records(self._place.parent) if record != self._place)
        while left:
            record = left.popleft()
            is_done = self._is_sent(record)
            if not is_done:
                left.append(record)
            yield is_done

    def _is_sent(self, record: Path) -> bool:
        try:
            close_killed([record])
            return has_ended(record) and (not unsent(record) or send(record, self._server))
        except Exception as error:  # mlflow may raise anything
            logger.debug("%s is not sent: %s", record.name, reason(error))
            return False


class BesideStudy(Beside):
    """Sends every record of a folder: those of the study's runs, and those that earlier runs left."""

    def __init__(self, place: Path, server: Server) -> None:
        super().__init__(place, server)
        self._complete: set[Path] = set()

    def feed(self, over: threading.Event) -> None:
        """Feed until ``over`` is set and all is sent."""
        pause, looks = FIRST_PAUSE_S, 2  # how many checks after the end of the study: a run that dies with it may live a moment longer
        while looks:
            closing = over.is_set()
            is_fed = self._is_done(self._feed)
            if closing and is_fed:
                looks = 0 if self._complete.issuperset(records(self._place)) else looks - 1
            pause = FIRST_PAUSE_S if is_fed else min(2 * pause, LONGEST_PAUSE_S)
            (time.sleep if closing and looks else over.wait)(pause)

    def _feed(self) -> None:
        for record in records(self._place):
            if record not in self._complete:
                self._send(record)

    def _send(self, record: Path) -> None:
        reap(record)
        ended = has_ended(record)
        if unsent(record):
            send(record, self._server)
        if ended and not unsent(record):
            self._complete.add(record)


def main() -> None:
    """Run as the background process, at a low priority: the training comes first."""
    os.nice(NICE)
    with os.fdopen(os.dup(0), "rb", buffering=0) as told:
        task = Task(**json.loads(told.readline()))
    _log_to_the_run()
    over = threading.Event()
    threading.Thread(target=_end_with_the_run, args=(over, task.wait_s), daemon=True).start()
    server = Server(task.uri, Path(task.project))
    try:
        (BesideRun(Path(task.record), server) if task.record else BesideStudy(Path(task.folder), server)).feed(over)
    except Exception as error:  # its traceback would be lost
        logger.warning("nothing more is sent to MLflow: %s", reason(error))


def _end_with_the_run(over: threading.Event, wait_s: float) -> None:
    os.read(0, 1)  # returns when the run says that it is over, or has died
    over.set()
    time.sleep(wait_s)
    os._exit(1)  # otherwise a hanging request would keep the process alive


def _log_to_the_run() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelno)d %(message)s"))
    ours = logging.getLogger("unlearnable")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    logging.raiseExceptions = False  # after a kill nobody reads the messages


if __name__ == "__main__":
    main()
