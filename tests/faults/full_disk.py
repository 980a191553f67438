"""Writes that meet a full disk, or the largest size that a file may have.

    python -m tests.faults.full_disk FOLDER disk|size WRITES

For each n up to WRITES, the n-th artifact of a row meets it. FOLDER is a file system of its own for ``disk``. Prints one JSON object.
"""

import json
import resource
import shutil
import sys
from pathlib import Path

from kedro.io import DatasetError, Version
from kedro.io.core import generate_timestamp

from unlearnable.artifacts.reports import JsonDataset

SIZE = 40_000


def dataset(folder: Path) -> JsonDataset:
    return JsonDataset(filepath=str(folder / "scores.json"), recipe="abc", version=Version(None, generate_timestamp()))


def fill(ballast: Path) -> None:
    """Take all space but less than one artifact needs."""
    free = shutil.disk_usage(ballast.parent).free
    ballast.write_bytes(bytes(max(free - SIZE // 2, 0)))


def limit(size: int) -> None:
    """Let no file of this process be larger than ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def trial(folder: Path, number: int, what: str) -> dict[str, bool]:
    """Return whether the write that failed said so, left nothing, and did no harm to the ones before and after."""
    for each in range(1, number):
        dataset(folder).save({"number": each, "rest": "x" * SIZE})
    before = files(folder)
    fill(folder.parent / "ballast") if what == "disk" else limit(SIZE // 2)
    try:
        dataset(folder).save({"number": number, "rest": "x" * SIZE})
        refused = ""
    except DatasetError as error:
        refused = str(error)
    after = files(folder)
    (folder.parent / "ballast").unlink(missing_ok=True)
    limit(resource.RLIM_INFINITY)
    readable = number == 1 or dataset(folder).load()["number"] == number - 1
    dataset(folder).save({"number": number, "rest": "x" * SIZE})
    said = ("No space left" if what == "disk" else "File too large") in refused
    return {"said": said, "nothing_left": after == before, "readable": readable, "next": dataset(folder).load()["number"] == number}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    root, what, writes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    results = []
    for number in range(1, writes + 1):
        results.append(trial(root / "data", number, what))
        shutil.rmtree(root / "data")
    print(json.dumps(results))  # noqa: T201
