"""One part of a study, made by a process of its own; what an executor calls, on this machine or on another one."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from unlearnable import __version__
from unlearnable.config.recipe import FORMAT
from unlearnable.study import forks
from unlearnable.study.cards import VISIBLE
from unlearnable.study.cells import Part
from unlearnable.tracking.delivery import FED_BY_STUDY

PACKAGES = ("kedro", "mlflow", "numpy", "pandas", "scikit-learn", "torch", "torchvision")  # what results may depend on
PROJECT = "a project's folder"  # what a worker is to be started in
OPTIONS = {"only_missing_outputs": True}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Dask sets it for its workers: memory goes back to the system at once, and a training on a CPU takes half as long again.
SLOW_MEMORY = "MALLOC_TRIM_THRESHOLD_"
LONGEST_ERROR = 500


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker needs to know to make a part.

    Args:
        part: to be made.
        env: Kedro's environment.
        project: the project's folder; None where the worker has been started in its own.
        tags: of the MLflow run.
        about: what ``about`` says on the machine that started the study; empty where that is this one.
        card: the only one that its run sees, as CUDA_VISIBLE_DEVICES names it; None leaves that as it is.
        fed: whether a process beside the study feeds MLflow, so that the run starts none.
    """

    part: Part
    env: str | None
    project: str | None
    tags: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    card: str | None = None
    fed: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the making of a part ended.

    Args:
        key: of the part.
        seconds: that it took, with its start.
        error: what was wrong, in one line; None where it is made.
        killed: by a signal, so that another try may end better.
        where: the machine, and the process that waited for it.
    """

    key: str
    seconds: float = 0.0
    error: str | None = None
    killed: bool = False
    where: str = ""


def about() -> dict[str, str]:
    """Return what results depend on, of this process: versions, and whether it was started in a project's folder."""
    started = PROJECT if Path("conf/base/catalog.yml").is_file() else str(Path.cwd())
    ours = {"working directory": started, "unlearnable": __version__, "recipe format": str(FORMAT)}
    return ours | {name: version(name) for name in PACKAGES}


def odd(expected: Mapping[str, str], theirs: Mapping[str, str]) -> str | None:
    """Return what of a worker is not as ``expected``, or None."""
    wrong = (name for name, value in expected.items() if theirs.get(name) != value)
    return next((f"expected {name} {expected[name]}, got {theirs.get(name, 'none')}" for name in wrong), None)


def perform(assignment: Assignment) -> Outcome:
    """Make a part by a run of its own."""
    start = time.perf_counter()
    where = f"{os.uname().nodename}:{os.getpid()}"
    if wrong := odd(assignment.about, about() if assignment.about else {}):  # a worker that has come since the study began
        return Outcome(key=assignment.part.key, error=f"worker {where}: {wrong}", where=where)
    code, said = _run(assignment)
    error = None if code == 0 else _reason(code, said)
    return Outcome(key=assignment.part.key, seconds=time.perf_counter() - start, error=error, killed=_was_killed(code), where=where)


def _run(assignment: Assignment) -> tuple[int, str]:
    """Return the exit code of ``kedro run`` and what it printed."""
    project = assignment.project or str(Path.cwd())
    with _arguments(assignment) as arguments, tempfile.NamedTemporaryFile("r", errors="replace") as output:
        environment = _environment(assignment, project)
        code = forks.call(["run", f"--config={arguments}"], project=project, environment=environment, output=output.name)
        return code, output.read()


@contextmanager
def _arguments(assignment: Assignment) -> Iterator[str]:
    """Write the options of ``kedro run`` into a file, since a command line would turn 1e-05 into text."""
    part = assignment.part
    options = OPTIONS | {"pipelines": part.pipeline, "params": part.parameters}
    options |= {"env": assignment.env} if assignment.env else {}
    options |= {"node_names": part.node} if part.node else {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"run": options}, file)
        file.flush()
        yield file.name


def _environment(assignment: Assignment, project: str) -> dict[str, str]:
    threads = str(assignment.part.parameters["threads"])
    sources = os.pathsep.join(filter(None, (str(Path(project) / "src"), os.environ.get("PYTHONPATH"))))
    return {
        **{name: value for name, value in os.environ.items() if name != SLOW_MEMORY},
        **dict.fromkeys(THREADS, threads),
        **({VISIBLE: assignment.card} if assignment.card is not None else {}),
        **({FED_BY_STUDY: "1"} if assignment.fed else {}),
        "PYTHONPATH": sources,
        "MLFLOW_RUN_CONTEXT": json.dumps(assignment.tags),
        "COLUMNS": "200",  # else Rich breaks an error into several lines
    }


def _was_killed(code: int) -> bool:
    """Return whether a signal ended the run; Kedro's session answers SIGTERM by 128 and its number."""
    return code < 0 or code in (128 + signal.SIGTERM, 128 + signal.SIGKILL)


def _reason(code: int, said: str) -> str:
    if _was_killed(code):
        return f"killed by {signal.Signals(-code if code < 0 else code - 128).name}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return (errors or lines or [f"exit code {code}"])[-1][:LONGEST_ERROR]
