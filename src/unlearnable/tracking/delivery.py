"""How MLflow gets the records of a run or a study: from a process beside it, without waiting, and from ``kedro tracking replay`` later."""

import json
import logging
import os
import select
import subprocess  # for our own process  # nosec B404
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
FED_BY_STUDY = "UNLEARNABLE_FED_BY_STUDY"  # the variable that has a run leave MLflow to the process beside its study
SILENT_S = 2.0  # a wait that is longer says so


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task of the process beside a run, or beside a study.

    Args:
        folder: of records.
        record: of the run; None beside a study, whose runs it all feeds.
        uri: of the server. It may hold a password, so it goes through the pipe and not onto the command line.
        project: the project's folder.
        wait_s: how long the process may go on when the run is over.
    """

    folder: str
    record: str | None
    uri: str
    project: str
    wait_s: float

    def line(self) -> bytes:
        """Return the task as the line that the process reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


class Delivery:
    """The process that feeds MLflow while a run or a study continues.

    It looks for new events by itself. Its messages are logged when the run calls ``hear``, so that no thread of the run has to
    listen, which a process of ParallelRunner's would lack.

    Args:
        task: of the process.
        server: the same server, for people.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, task: Task, server: Server) -> None:
        self._task, self._server = task, server
        self._owner = os.getpid()
        self._has_failed = False
        self._process = start()
        self._said = cast("IO[bytes]", self._process.stdout)
        with suppress(OSError):  # it has ended already, and has said why
            self._told.write(task.line())

    def hear(self) -> None:
        """Log what the process has said since; a process that was forked from the run leaves that to the run."""
        if os.getpid() != self._owner or self._said.closed:
            return
        waiting = select.poll()
        waiting.register(self._said, select.POLLIN)
        while waiting.poll(0) and (line := self._said.readline()):
            self._log(line.decode(errors="replace").strip())

    def finish(self) -> None:
        """Wait for the rest to be sent, but no longer than the task says; log a warning where something is left."""
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
        if level.isdigit():  # else a library has printed it
            logger.log(int(level), "%s", text)
            self._has_failed = self._has_failed or int(level) >= logging.WARNING

    def _tell_what_is_left(self) -> None:
        records = [Path(self._task.record)] if self._task.record else to_send(Path(self._task.folder))
        if left := sum(map(unsent, records)):
            how = self._server.replay if self._has_failed else "'kedro tracking replay' sends"
            logger.warning("%d events are not sent to MLflow at %s: %s them", left, self._server, how)


def delivered(server: Server, settings: TrackingSettings, record: Path | None = None) -> Delivery | None:
    """Start feeding MLflow from the record of a run, or of all runs of a study; return None, with a warning, where that cannot be."""
    uri = str(settings.tracking_uri)
    one = str(record) if record else None
    task = Task(folder=settings.records, record=one, uri=uri, project=str(server.project), wait_s=settings.wait_s)
    try:
        return Delivery(task, server)
    except OSError as error:  # too many processes, or too little memory for another
        logger.warning("MLflow at %s is not fed: %s; 'kedro tracking replay' sends what is recorded", server, reason(error))
        return None


def start() -> "subprocess.Popen[bytes]":
    """Start the process. It is in its own group, so that Ctrl-C reaches the run only, which then says that it is over."""
    sources = os.pathsep.join(filter(None, (SOURCES, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(  # no shell  # noqa: S603  # nosec B603
        [sys.executable, "-P", "-m", MODULE],  # -P: no module is taken from the folder that this runs in
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": sources},
        process_group=0,
    )


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


def close_killed(paths: Iterable[Path]) -> None:
    """End the records of runs that were killed."""
    for record in paths:
        if reap(record):
            logger.info("closed a run that was killed: %s", record.name)
