"""What a study's runs have done: a record a run, of which each part has its start and its end."""

from dataclasses import dataclass
from pathlib import Path

from unlearnable.errors import InputError
from unlearnable.study.cells import Part
from unlearnable.study.work import Outcome
from unlearnable.tracking.record import CELL, Record, is_live, read, records

FOLDER = "data/09_tracking/studies"
FINISHED, FAILED = "FINISHED", "FAILED"


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What the journal says of parts, by their keys.

    Args:
        running: those that are being made.
        failed: with what error; a part that was tried again since is not among them.
        seconds: that each finished part took.
        parent: the MLflow run that cells belong to.
    """

    running: set[str]
    failed: dict[str, str]
    seconds: dict[str, float]
    parent: str | None


class Journal:
    """The record of one ``kedro study run``; only one may be open for a study.

    Raises:
        InputError: another process is running this study.
    """

    def __init__(self, folder: Path) -> None:
        if live := [path for path in records(folder) if is_live(path)]:
            raise InputError(f"study '{folder.name}': expected no other process to be running it, got one that writes {live[0]}")
        self._record = Record.create(folder, name=folder.name)

    def belongs_to(self, parent: str | None) -> None:
        """Note the MLflow run of the study."""
        self._record.append("parent", run_id=parent)

    def begin(self, part: Part) -> None:
        """Note that a part is being made."""
        self._record.append("start", part.key, name=part.label)

    def end(self, outcome: Outcome) -> None:
        """Note how that ended."""
        status = FAILED if outcome.error else FINISHED
        self._record.append("end", outcome.key, status=status, seconds=outcome.seconds, error=outcome.error, where=outcome.where)

    def close(self, status: str) -> None:
        """End the record, and whatever is not ended, by that status."""
        self._record.end(status)


def noted(folder: Path) -> Noted:
    """Return what the journals of a study say."""
    running: set[str] = set()
    failed: dict[str, str] = {}
    seconds: dict[str, float] = {}
    parent = None
    for path in records(folder):
        live = is_live(path)
        for event in (event for event, _ in read(path) if "label" in event):
            key = event["label"]
            if event["event"] == "parent":
                parent = event["run_id"] or parent
            elif key != CELL and event["event"] == "start":
                failed.pop(key, None)
                running |= {key} if live else set()
            elif key != CELL and event["event"] == "end":
                running.discard(key)
                failed.update({key: event["error"]} if event.get("error") else {})
                seconds.update({key: event["seconds"]} if event["status"] == FINISHED and "seconds" in event else {})
    return Noted(running=running, failed=failed, seconds=seconds, parent=parent)
