"""Files of JSON, one line a result: each line is on the disk before the next one is begun, and a half-written last one is dropped."""

import json
import os
from pathlib import Path
from typing import Any

from unlearnable.errors import InputError

FORMAT = 1
Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """Return the lines of a file, of none where it is missing; the last may be half written.

    Raises:
        InputError: another line is no JSON, or one is of another format.
    """
    rows = path.read_bytes().split(b"\n") if path.exists() else []
    parsed = [_parsed(row) for row in rows]
    if rows and parsed[-1] is None:  # what a killed process left, or nothing after the last newline
        parsed.pop()
    found = []
    for number, line in enumerate(parsed, start=1):
        if not isinstance(line, dict) or line.get("format") != FORMAT:
            got = "no JSON object" if not isinstance(line, dict) else f"format {line.get('format')!r}"
            raise InputError(f'{path}: line {number}: expected JSON with "format": {FORMAT}, got {got}')
        found.append(line)
    return found


def _parsed(row: bytes) -> object:
    try:
        return json.loads(row)
    except ValueError:
        return None


class Log:
    """The results in a folder: ``cells.jsonl`` has a line a cell, ``epochs.jsonl`` one an epoch, which a cell that is cut off leaves."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._cells, self._epochs = folder / "cells.jsonl", folder / "epochs.jsonl"
        self.cells, self.epochs = mended(self._cells), mended(self._epochs)

    def cell(self, line: Line) -> None:
        """Add a finished cell."""
        self.cells.append(append(self._cells, line))

    def epoch(self, line: Line) -> None:
        """Add an epoch of the cell that runs."""
        self.epochs.append(append(self._epochs, line))


def mended(path: Path) -> list[Line]:
    """Return the lines of a file, which is left with whole ones alone."""
    lines = read(path)
    if path.exists():
        whole = b"".join(_written(line) for line in lines)
        if path.read_bytes() != whole:
            temporary = path.with_name(f".{path.name}.tmp")
            _add(temporary, whole, "wb")
            temporary.replace(path)
    return lines


def append(path: Path, line: Line) -> Line:
    """Add a line to a file and wait until it is on the disk; return it."""
    line = {"format": FORMAT, **line}
    _add(path, _written(line), "ab")
    return line


def _written(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _add(path: Path, content: bytes, mode: str) -> None:
    with path.open(mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
