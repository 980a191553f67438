"""The record of a run: an append-only file of JSON lines. It is complete even if MLflow never receives anything.

A line is an event of the cell or of one of its children: ``start``, ``tags``, ``metrics``, ``artifact``, ``end``. The process that
writes a record holds a lock on it, which the system releases when the process dies. So a record without an end and without a lock
belongs to a run that was killed.
"""

import errno
import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CELL = "cell"
SUFFIX = ".jsonl"
LAST_LINES = 1 << 13  # how many of the last bytes are searched for the end of a record

Event = dict[str, Any]


def lock_across_forks() -> threading.Lock:
    """Return a lock that a fork waits for. Otherwise a forked process could inherit it locked by a thread that the process lacks."""
    lock = threading.Lock()
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


_WRITING = lock_across_forks()  # ParallelRunner forks while threads are writing, and its processes write too


class Record:
    """A record that is open for writing. Events are appended, and each is on the disk before ``append`` returns."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file
        self._is_open = True

    @classmethod
    def create(cls, folder: Path, **start: Any) -> "Record":
        """Return a new record with the cell's ``start``. Its name has the time and a random part.

        Raises:
            OSError: the folder or the file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        unnamed = path.with_suffix(".tmp")  # renamed once it is locked and has its start, or it would look like that of a dead run
        file = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o644)
        record = cls(path, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            record.append("start", **start)
            unnamed.rename(path)
        except OSError:
            record.close()
            unnamed.unlink(missing_ok=True)
            raise
        return record

    def append(self, event: str, label: str = CELL, **fields: Any) -> None:
        """Write an event. After the end nothing more is written: a thread of a failed run may still be running.

        Raises:
            OSError: the disk is full. What was written before stays readable.
        """
        line = json.dumps({"event": event, "label": label, "time": now_ms(), **fields}, default=str).encode() + b"\n"
        with _WRITING:
            if self._is_open:
                self._write(line)

    def end(self, status: str, error: str | None = None, at_ms: int | None = None) -> None:
        """Write the end of everything that is still open, the cell last and with the error, and close the record.

        Raises:
            OSError: the disk is full; the record is closed nevertheless.
        """
        try:
            for label in reversed(_unended(self.path)):
                said = {"error": error} if error and label == CELL else {}
                self.append("end", label, status=status, time=at_ms or now_ms(), **said)
        finally:
            self.close()

    def close(self) -> None:
        """Release the lock."""
        with _WRITING:
            if self._is_open:
                os.close(self._file)
            self._is_open = False

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            os.ftruncate(self._file, size)  # otherwise the next event would follow half a line
            raise
        os.fsync(self._file)


def now_ms() -> int:
    """Return the time as MLflow writes it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def records(folder: Path) -> list[Path]:
    """Return the records of a folder, the oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read(path: Path, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """Yield each event after an offset, with the offset of its end. An incomplete last line, as a kill leaves it, is left out."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                offset += len(line)
                yield _parsed(line), offset


def is_live(path: Path) -> bool:
    """Return whether a process is writing the record."""
    with path.open("rb") as file:
        return not _locked(file.fileno(), fcntl.LOCK_SH)


def name_of(path: Path) -> str:
    """Return the name of the run that a record belongs to."""
    return str(next((event.get("name") for event, _ in read(path)), path.stem))


def reap(path: Path) -> bool:
    """If the process of a record died before its end, end the record as KILLED; return whether that was so.

    The time of the end is that of the last event, not now.
    """
    if has_ended(path):
        return False
    file = os.open(path, os.O_RDWR | os.O_APPEND)
    record = Record(path, file)
    try:
        if not _locked(file, fcntl.LOCK_EX) or has_ended(path):
            return False
        events = list(read(path))
        os.ftruncate(file, events[-1][1] if events else 0)
        record.end("KILLED", at_ms=events[-1][0].get("time") if events else None)
        return True
    finally:
        record.close()


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parsed(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except ValueError:  # a power cut may leave blocks of zeros
        event = None
    return event if isinstance(event, dict) else {"event": "unreadable"}


def has_ended(path: Path) -> bool:
    """Return whether the record has the end of its run."""
    size = path.stat().st_size
    last: Event = {}
    for last, _ in read(path, max(0, size - LAST_LINES)):  # noqa: B007
        pass
    return last.get("event") == "end" and last.get("label") == CELL


def _unended(path: Path) -> list[str]:
    """Return the labels that have started and not ended, the cell first."""
    labels = {CELL: None}
    for event, _ in read(path):
        if event["event"] == "start":
            labels[event["label"]] = None
        elif event["event"] == "end":
            labels.pop(event["label"], None)
    return list(labels)
