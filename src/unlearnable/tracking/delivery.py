"""How records reach MLflow: a background process sends them during a run or a study, and ``kedro tracking replay`` sends the rest."""

import json
import logging
import os
import select
import subprocess  # starts our own background process  # nosec B404
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from unlearnable.tracking.feeder import Feeder, unsent
from unlearnable.tracking.record import is_live, reap, records
from unlearnable.tracking.server import Server, reason
from unlearnable.tracking.settings import TrackingSettings

logger = logging.getLogger(__name__)
MODULE = "unlearnable.tracking.feed"
SOURCES = str(Path(__file__).parents[2])
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # it computes nothing
FED_BY_STUDY = "UNLEARNABLE_FED_BY_STUDY"  # if this variable is set, the background process of the study sends the records of its runs
SILENT_S = 2.0  # a longer wait is logged


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task of the background process of a run or of a study.

    Args:
        folder: where the records are.
        record: the record of the run; None for a study, whose runs' records are all sent.
        uri: the address of the server. It may hold a password, so it is passed through the pipe, not on the command line.
        project: the project's folder.
        wait_s: how long the process may continue after the run is over.
    """

    folder: str
    record: str | None
    uri: str
    project: str
    wait_s: float

    def line(self) -> bytes:
        """Return the task as the line of JSON that the process reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


class Delivery:
    """The background process that sends events to MLflow while a run or a study continues.

    It looks for new events by itself. Its messages are logged when the run calls ``hear``. No thread has to listen for them: a process
    forked by ParallelRunner would not have that thread.

    Args:
        task: the task of the process.
        server: the same server, for messages.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, task: Task, server: Server) -> None:
        self._task, self._server = task, server
        self._owner = os.getpid()
        self._has_failed = False
        self._process = start()
        self._said = cast("IO[bytes]", self._process.stdout)
        with suppress(OSError):  # the process has already ended, and has logged why
            self._told.write(task.line())

    def hear(self) -> None:
        """Log the new messages of the process. Only the run itself does this, not a process forked from it."""
        if os.getpid() != self._owner or self._said.closed:
            return
        waiting = select.poll()
        waiting.register(self._said, select.POLLIN)
        while waiting.poll(0) and (line := self._said.readline()):
            self._log(line.decode(errors="replace").strip())

    def finish(self) -> None:
        """Wait until everything is sent, but no longer than the task allows; log a warning if something is left."""
        if os.getpid() != self._owner:
            return
        with suppress(OSError):
            self._told.write(b"\n")  # a process that was forked from the run may hold the pipe open
        self._told.close()
        wait_s = self._task.wait_s
        try:
            if not self._ends_within(min(wait_s, SILENT_S)) and wait_s > SILENT_S:
                logger.info("waiting up to %g s for MLflow at %s", wait_s, self._server)
                self._ends_within(wait_s - SILENT_S)
        finally:
            self._process.kill()
            self._process.wait()
            self.hear()
            self._said.close()
            self._tell_what_is_left()

    @property
    def _told(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    def _ends_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def _log(self, line: str) -> None:
        level, _, text = line.partition(" ")
        if level.isdigit():  # otherwise a library has printed the line
            logger.log(int(level), "%s", text)
            self._has_failed = self._has_failed or int(level) >= logging.WARNING

    def _tell_what_is_left(self) -> None:
        records = [Path(self._task.record)] if self._task.record else to_send(Path(self._task.folder))
        if left := sum(map(unsent, records)):
            how = self._server.replay if self._has_failed else "'kedro tracking replay' sends"
            logger.warning("%d events were not sent to MLflow at %s: %s them", left, self._server, how)


def delivered(server: Server, settings: TrackingSettings, record: Path | None = None) -> Delivery | None:
    """Start sending the record of a run, or of all runs of a study, to MLflow; if that is impossible, log a warning and return None."""
    uri = str(settings.tracking_uri)
    one = str(record) if record else None
    task = Task(folder=settings.records, record=one, uri=uri, project=str(server.project), wait_s=settings.wait_s)
    try:
        return Delivery(task, server)
    except OSError as error:  # too many processes, or out of memory
        logger.warning("nothing is sent to MLflow at %s: %s; 'kedro tracking replay' sends the record later", server, reason(error))
        return None


def start() -> "subprocess.Popen[bytes]":
    """Start the process. It has its own process group, so Ctrl-C reaches only the run, which then tells it that it is over."""
    sources = os.pathsep.join(filter(None, (SOURCES, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(  # no shell  # noqa: S603  # nosec B603
        [sys.executable, "-P", "-m", MODULE],  # -P: no module is imported from the current folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": sources},
        process_group=0,
    )


def to_send(folder: Path) -> list[Path]:
    """Return the records that no process is writing and that are not completely in MLflow, oldest first."""
    return [record for record in records(folder) if unsent(record) and not is_live(record)]


def send(record: Path, server: Server) -> bool:
    """Send the part of a record that MLflow does not have; return False if another process is sending it.

    Raises:
        Exception: anything that mlflow raises when the server does not answer.
    """
    try:
        with Feeder(record, server) as feeder:
            feeder.feed()
    except BlockingIOError:
        return False
    return True


def close_killed(paths: Iterable[Path]) -> None:
    """End the records of runs that were killed."""
    for record in paths:
        if reap(record):
            logger.info("closed a run that was killed: %s", record.name)
