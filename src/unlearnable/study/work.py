"""One part of a study, made by a process of its own; what an executor calls, on this machine or on another one."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from unlearnable.study.cells import Part

OPTIONS = {"only_missing_outputs": True}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LONGEST_ERROR = 500


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker is told.

    Args:
        part: to be made.
        env: Kedro's environment.
        project: the project's folder; None where the worker has been started in its own.
        tags: of the MLflow run.
    """

    part: Part
    env: str | None
    project: str | None
    tags: dict[str, str] = field(default_factory=dict)


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


def perform(assignment: Assignment) -> Outcome:
    """Make a part by a run of its own."""
    start = time.perf_counter()
    code, said = _run(assignment)
    return Outcome(
        key=assignment.part.key,
        seconds=time.perf_counter() - start,
        error=None if code == 0 else _reason(code, said),
        killed=_was_killed(code),
        where=f"{os.uname().nodename}:{os.getpid()}",
    )


def _run(assignment: Assignment) -> tuple[int, str]:
    """Return the exit code of ``kedro run`` and what it printed."""
    project = assignment.project or str(Path.cwd())
    with _arguments(assignment) as arguments, tempfile.TemporaryFile("w+", errors="replace") as output:
        command = [sys.executable, "-m", "unlearnable.child", str(os.getpid()), "run", f"--config={arguments}"]
        code = subprocess.call(command, cwd=project, env=_environment(assignment, project), stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
        output.seek(0)
        return code, output.read()


@contextmanager
def _arguments(assignment: Assignment) -> Iterator[str]:
    """Write what ``kedro run`` is asked for into a file, since a command line would turn 1e-05 into text."""
    part = assignment.part
    options = OPTIONS | {"pipelines": part.pipeline, "params": part.parameters}
    options |= {"env": assignment.env} if assignment.env else {}
    options |= {"namespaces": part.namespace} if part.namespace else {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"run": options}, file)
        file.flush()
        yield file.name


def _environment(assignment: Assignment, project: str) -> dict[str, str]:
    threads = str(assignment.part.parameters["threads"])
    sources = os.pathsep.join(filter(None, (str(Path(project) / "src"), os.environ.get("PYTHONPATH"))))
    return {
        **os.environ,
        **dict.fromkeys(THREADS, threads),
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
