"""What a study costs beside its cells, and whether it matters who works at them.

python -m benchmarks.studies --env cifar10_small --data-root /data              # eight cells: bare, by processes, by Dask, one by one
python -m benchmarks.studies --env cifar10_small --data-root /data --seeds 2    # sixteen cells, but not one by one
python -m benchmarks.studies --paper                                            # 10,000 cells of no work: plan, journal, executors
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess  # for our own commands  # nosec B404
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import yaml
from kedro.framework.startup import bootstrap_project

from benchmarks.timing import ROOT, copied_project
from unlearnable.study.cells import Part
from unlearnable.study.executors import Team, dask, processes
from unlearnable.study.gather import score_hash
from unlearnable.study.journal import Journal
from unlearnable.study.plan import plan
from unlearnable.study.runner import work_off
from unlearnable.study.work import Assignment, Outcome, perform
from unlearnable.tracking.record import CELL, read

RECOVERIES = ["grayscale", "jpeg", "bdr", "gaussian_blur", "gaussian_noise", "cutout", "cutmix", "mixup"]
SLOTS = 2
MANY = {  # 20 x 10 x 2 x 25 = 10,000 cells
    "poisons": [
        *("none", "lsp", "ops", "ar", "ar_linf", "classwise_random", "regions_4", "regions_16", "l2_regions_4", "patches_4"),
        *("patches_8", "cuda", "em_samplewise", "em_classwise", "ops_plus_em", "rem", "tap", "error_max", "hypo", "pil"),
    ],
    "recoveries": ["none", "orthogonal_projection", *RECOVERIES],
    "models": ["small_cnn", "resnet18"],
    "seeds": list(range(25)),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="cifar10_small")
    parser.add_argument("--data-root", type=Path, default=ROOT / "data" / "01_raw")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--paper", action="store_true", help="10,000 cells of no work")
    parser.add_argument("--journal", type=Path, help="only tell how the time of a study's run was spent, from its journal")
    arguments = parser.parse_args()
    if arguments.journal:
        print(spent(arguments.journal))
        return
    bootstrap_project(ROOT)
    os.environ["DO_NOT_TRACK"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        if arguments.paper:
            on_paper(Path(folder))
        else:
            beside_bare_cells(Path(folder), arguments.env, arguments.data_root.resolve(), arguments.epochs, arguments.seeds)


def beside_bare_cells(folder: Path, env: str, data_root: Path, epochs: int, seeds: int) -> None:
    """Time eight cells a seed, bare and as a study, each time from the same shared parts, and compare their scores."""
    parameters = {"train.epochs": epochs, "data_root": str(data_root), "craft.seed": 0}
    grid = {"poisons": ["ops"], "models": ["small_cnn"], "seeds": list(range(seeds)), "parameters": parameters}
    cells = len(RECOVERIES) * seeds
    shared = _project(folder / "shared", env, {**grid, "recoveries": ["none"]})
    _study(shared, env, "--threads=1")
    ways: dict[str, Callable[[Path], object]] = {
        "bare cells, two at a time": lambda project: _bare(project, env),
        "processes": lambda project: _study(project, env, f"--processes={SLOTS}", "--threads=1"),
        "dask": lambda project: _study(project, env, "--executor=dask", f"--processes={SLOTS}", "--threads=1"),
    }
    if seeds == 1:
        ways["one by one"] = lambda project: _study(project, env, "--processes=1", "--threads=1")
    hashes, seconds = {}, {}
    for number, (name, way) in enumerate(ways.items()):
        project = _project(folder / str(number), env, {**grid, "recoveries": RECOVERIES}, shared)
        start = time.perf_counter()
        way(project)
        seconds[name], hashes[name] = time.perf_counter() - start, _hashes(project)
        slots = 1 if name == "one by one" else SLOTS
        print(f"{name}: {seconds[name]:.1f} s, {seconds[name] * slots / cells:.1f} s a cell", flush=True)
    for name in ("processes", "dask"):
        print(f"{name} over bare cells: {seconds[name] / seconds['bare cells, two at a time'] - 1:+.1%}")
    same = len({json.dumps(found, sort_keys=True) for found in hashes.values()}) == 1
    print(f"hashes of the {cells} scores {f'are identical in all {len(ways)} ways' if same else f'differ: {hashes}'}")


def spent(journal: Path) -> str:
    """Return what a study took from its journal's first line to its first part, to hand out a part, and from the end of one to the next."""
    events = [event for event, _ in read(journal)]
    starts = {event["label"]: event["time"] for event in events if event["event"] == "start" and event["label"] != CELL}
    ends = [event for event in events if event["event"] == "end" and event["label"] in starts]
    handed = [event["time"] - starts[event["label"]] - 1000 * event["seconds"] for event in ends]
    free, gaps = list[int](), list[int]()
    for event in events:
        if event["event"] == "end" and event["label"] in starts:
            free.append(event["time"])
        elif event["event"] == "start" and event["label"] in starts and free:
            gaps.append(event["time"] - free.pop())
    before, wall = ((time - events[0]["time"]) / 1000 for time in (min(starts.values()), events[-1]["time"]))
    between = f"{statistics.mean(gaps):.1f} ms (at most {max(gaps)}) until the next starts, {statistics.mean(handed):.1f} ms to hand it out"
    return f"{wall:.0f} s, {len(ends)} parts: {before:.1f} s before the first; of each, {between}"


def _project(project: Path, env: str, study: dict[str, object], shared: Path | None = None) -> Path:
    """Return a project with that study, in which what ``shared`` has made is there."""
    copied_project(project)
    file = project / "conf" / env / "study" / "bench.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(study))
    if shared:
        shutil.copytree(shared / "data", project / "data", ignore=shutil.ignore_patterns("08_reporting", "09_tracking"))
        shutil.copy(shared / "mlflow.db", project)  # a project in which something has run has one
    return project


def _study(project: Path, env: str, *options: str) -> None:
    command = [sys.executable, "-m", "kedro", "study", "run", "bench", f"--env={env}", *options]
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # no shell  # noqa: S603  # nosec B603


def _bare(project: Path, env: str) -> None:
    """Make the cells by the same processes, with nobody who plans, notes and tells."""
    grid = plan("bench", project=project, env=env).grid
    parts = [replace(part, parameters=part.parameters | {"threads": 1}) for part in (grid.parts[cell.key] for cell in grid.cells)]
    with ThreadPoolExecutor(SLOTS) as pool:
        outcomes = list(pool.map(perform, (Assignment(part=part, env=env, project=str(project)) for part in parts)))
    if lost := [outcome for outcome in outcomes if outcome.error]:
        raise RuntimeError(lost)


def _hashes(project: Path) -> dict[str, str]:
    paths = (project / "data" / "08_reporting").rglob("scores.json/*/scores.json")
    found = [json.loads(path.read_text()) for path in paths]
    return {f"{scores['recovery']} seed {scores['seed']}": score_hash(scores) for scores in found}


def on_paper(folder: Path) -> None:
    """Plan and work off 10,000 cells that take no time."""
    project = _project(folder / "many", "base", MANY)
    with _timed("plan of 10,000 cells"):
        found = plan("bench", project=project, env="base")
    with _timed("what of them is there"):
        parts = found.grid.needed(found.complete())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(found.grid.cells):,} cells, {len(parts):,} runs; {memory:.2f} GiB at most")
    for name, team in (("processes", processes(SLOTS)), ("dask", dask(None, SLOTS))):
        with team as workers, _timed(f"{name}: {len(parts):,} runs of no work, with their journal"):
            _work_off(parts, workers, Journal(folder / name))


def nothing(assignment: Assignment) -> Outcome:
    """Say that a part is made."""
    return Outcome(key=assignment.part.key)


def _work_off(parts: dict[str, Part], team: Team, journal: Journal) -> None:
    def assign(part: Part) -> Assignment:
        return Assignment(part=part, env=None, project=None)

    for outcome in work_off(parts, team, assign, journal.begin, tries=1, make=nothing):
        journal.end(outcome)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
