"""Runs of whole cells that are killed, interrupted, or many at once, in processes forked from one that has imported everything.

    python -m tests.faults.cells resume|signals|soak|runners TRIALS FOLDER

Prints one JSON object.
"""

import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import safetensors.torch
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo
from kedro.framework.startup import bootstrap_project

import unlearnable.reporting.cell
import unlearnable.tracking  # noqa: F401
from tests.conftest import copy_project, recorded
from unlearnable.artifacts.atomic import TEMPORARIES, DamagedError, read_checked
from unlearnable.cli import run as run_command
from unlearnable.session import Session

RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")
TINY = "ingest.train_size=60,ingest.test_size=20,train.batch_size=20"


def start(project: Path, parameters: str, *options: str) -> int:
    """Start `kedro run` in a process of its own and return its number; what it says goes to log.txt."""
    process = os.fork()
    if process:
        return process
    log = os.open(project / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(project)
    bootstrap_project(project)
    arguments = ["--pipeline=orthoproj", "--env=test", "--only-missing-outputs", f"--params={parameters}", *options]
    run_command.main(arguments, prog_name="kedro run")
    raise SystemExit(0)


def ended(process: int) -> int:
    """Wait for a process and return its exit code as a shell has it."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code if code >= 0 else 128 - code


def outcome(project: Path) -> dict[str, object]:
    """Return the losses of all trainings, and the hash of every array that was kept."""
    [history] = (project / "data").rglob("history.parquet/*/history.parquet")
    losses = {name: list(rows["loss"]) for name, rows in pd.read_parquet(history).groupby("training")}
    arrays = {}
    paths = [path for path in (project / "data").rglob("*.safetensors") if path.is_file() and not path.name.startswith("training")]
    for path in sorted(paths):
        values = safetensors.torch.load(path.read_bytes()).items()
        digest = hashlib.sha256(b"".join(name.encode() + value.numpy().tobytes() for name, value in sorted(values)))
        arrays[f"{path.parents[2].relative_to(project)}/{path.name}"] = digest.hexdigest()  # without the version
    return {"losses": losses, "arrays": arrays}


def broken(project: Path) -> list[str]:
    """Return the artifacts that cannot be read, but for those that were set aside."""
    found = []
    for note in set((project / "data").rglob("*.sha256")) - set((project / "data").rglob("*.damaged.sha256")):
        path = note.with_suffix("")
        try:
            read_checked(path)
        except (DamagedError, FileNotFoundError) as error:
            if path.exists():
                found.append(str(error))
    return found


def resume(trials: int, root: Path) -> dict[str, object]:
    """Kill a run ``trials`` times in each precision, let it end, and compare it with one that was never killed; one trial is float32's."""
    totals: dict[str, object] = {"kills": 0, "gone_on": 0}
    for precision in ("float32", "bfloat16")[:trials]:
        parameters = f"train.precision={precision},train.epochs={10 + 3 * trials},{TINY}"
        whole, killed = (copy_project(root / precision / name) for name in ("whole", "killed"))
        codes = [ended(start(whole, parameters))]
        chance = random.Random(0)  # noqa: S311
        for _ in range(trials):
            process = start(killed, parameters)
            wait_for(killed, chance.uniform(0.0, 0.4))
            os.kill(process, signal.SIGKILL)
            totals["kills"] += ended(process) == 128 + signal.SIGKILL
        codes.append(ended(start(killed, parameters)))
        totals[precision] = {"codes": codes, "same": outcome(whole) == outcome(killed), "broken": broken(killed)}
        totals["gone_on"] += " ".join((killed / "log.txt").read_text().split()).count("resuming from")
        totals["losses"] = len(outcome(killed)["losses"]["clean"])
    return totals


def wait_for(project: Path, more: float) -> None:
    """Wait until a training has made its next checkpoint, and then ``more`` seconds."""
    before, deadline = checkpoints(project), time.monotonic() + 60
    while checkpoints(project) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(more)


def checkpoints(project: Path) -> float:
    """Return when the newest checkpoint was written."""
    times = []
    for path in (project / "data" / "06_models").rglob("epoch-*.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def signals(trials: int, root: Path) -> dict[str, object]:
    """Send SIGINT and SIGTERM in turn at random times, each to a run of its own, every other time twice; then let one more run end.

    Of every six runs, two go by each of Kedro's runners.
    """
    project = copy_project(root / "project")
    chance, codes, slowest = random.Random(1), [], 0.0  # noqa: S311
    for trial in range(trials):
        number = (signal.SIGINT, signal.SIGTERM)[trial % 2]
        process = start(project, f"seed={trial},train.epochs=100,{TINY}", f"--runner={RUNNERS[trial // 2 % 3]}")
        wait_until(project, trial + 1, chance.uniform(0.0, 3.0))
        sent = time.monotonic()
        os.kill(process, number)
        if trial % 4 in (1, 2):
            time.sleep(0.02)
            os.kill(process, number)
        codes.append(ended(process) - number)
        slowest = max(slowest, time.monotonic() - sent)
    code = ended(start(project, f"seed=0,{TINY}"))
    statuses = run_statuses(project)
    left = len(list((project / "data").rglob(TEMPORARIES)))
    return {"codes": codes, "slowest": round(slowest, 2), "next": code, "statuses": statuses, "broken": broken(project), "left": left}


def wait_until(project: Path, runs: int, more: float) -> None:
    """Wait until so many runs have begun, and then ``more`` seconds."""
    deadline = time.monotonic() + 60
    while begun(project) < runs and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(more)


def begun(project: Path) -> int:
    log = project / "log.txt"
    return log.read_text().count("Kedro project") if log.exists() else 0


def run_statuses(project: Path) -> dict[str, int]:
    """Return how many runs have recorded each status as their last word."""
    return dict(Counter(str(run.status) for run in recorded(project)))


def soak(trials: int, root: Path) -> dict[str, object]:
    """Run ``trials`` tiny cells in one folder, half of them in each of two processes at once."""
    project = copy_project(root / "project")
    cells = list(
        itertools.islice(itertools.product(range(1000), ("none", "ops", "lsp", "regions_4"), ("none", "orthogonal_projection")), trials)
    )
    processes = [_study(project, cells[half::2], root / f"study-{half}.json") for half in range(2)]
    codes = [ended(process) for process in processes]
    studies = [json.loads((root / f"study-{half}.json").read_text()) for half in range(2)]
    made = [json.loads(path.read_text()) for path in (project / "data").rglob("scores.json/*/scores.json")]
    found = sorted((scores["seed"], scores["poison"], scores["recovery"]) for scores in made)
    return {
        "codes": codes,
        "lost": len(set(cells) - set(found)),
        "doubled": len(found) - len(set(found)),
        "statuses": run_statuses(project),
        "broken": broken(project),
        "left": len(list((project / "data").rglob(TEMPORARIES))),
        "studies": studies,
    }


def runners(trials: int, root: Path) -> dict[str, object]:
    """Run one cell ``trials`` times by each of Kedro's runners, each in a project of its own, and compare all that was made."""
    outcomes = []
    for trial in range(trials):
        for runner in RUNNERS:
            project = copy_project(root / str(trial) / runner)
            code = ended(start(project, TINY, f"--runner={runner}"))
            outcomes.append(outcome(project) | {"code": code})
    return {"runs": len(outcomes), "different": sum(each != outcomes[0] for each in outcomes), "arrays": len(outcomes[0]["arrays"])}


def _study(project: Path, cells: list, report: Path) -> int:
    process = os.fork()
    if process:
        return process
    log = os.open(f"{report}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(project)
    bootstrap_project(project)
    seen = []
    for seed, poison, recovery in cells:
        parameters = {"seed": seed, "poison": poison, "recovery": recovery, "train": {"epochs": 1, "batch_size": 20}}
        parameters |= {"ingest": {"train_size": 60, "test_size": 20}}
        with Session.create(project, env="test", runtime_params=parameters) as session:
            session.run(pipeline_names=["recover"], only_missing_outputs=True)
        me = psutil.Process()
        seen.append({"mib": me.memory_info().rss / 2**20, "files": me.num_fds(), "threads": me.num_threads()})
    report.write_text(json.dumps({"early": seen[len(seen) // 4], "end": seen[-1]}))
    os._exit(0)


MODES = {mode.__name__: mode for mode in (resume, signals, soak, runners)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(MODES[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))))  # noqa: T201
