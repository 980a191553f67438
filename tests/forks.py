"""Processes of tests that start in a tenth of a second: forks of one that has imported what they import."""

import io
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from unlearnable.study.forks import IMPORTED

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
MLFLOW = ("mlflow", "mlflow.store.tracking.sqlalchemy_store")  # what the process beside a run imports


def ready() -> None:
    """Start the fork server with all that tests import, before a study starts it with less: mlflow takes each fork seconds of CPU."""
    SERVER.set_forkserver_preload([*IMPORTED, *MLFLOW, "tests.conftest", "tests.forks"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH")))))
        forkserver.ensure_running()


def fork(function: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """Call a function in a process of its own, with one thread for each library; return the process."""
    ready()
    process = SERVER.Process(target=_called, args=(function, arguments))
    process.start()
    return process


class Beside:
    """The process beside a run, as ``delivery.start`` returns it, but a fork: mlflow is imported in it, which takes seconds of CPU."""

    def __init__(self) -> None:
        told, self.stdin = _pipe()
        self.stdout, says = _pipe()
        self._process = fork(_feed, Connection(told.detach(), writable=False), Connection(says.detach(), readable=False))
        self.pid = self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("fork", timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def _pipe():
    """Return the ends of a pipe: for reading, for writing."""
    reads, writes = os.pipe()
    return FileIO(reads, "r"), FileIO(writes, "w")


class FileIO(io.FileIO):
    def detach(self) -> int:
        """Return a copy of the number, and close this one."""
        copy = os.dup(self.fileno())
        self.close()
        return copy


def _feed(told: Connection, says: Connection) -> None:
    os.setsid()
    os.dup2(told.fileno(), 0)
    os.dup2(says.fileno(), 1)
    told.close()
    says.close()
    sys.stdout = os.fdopen(1, "w", closefd=False)
    from unlearnable.tracking.feed import main

    main()
    sys.stdout.flush()


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    multiprocessing.set_start_method(None, force=True)  # the system's own, for whatever the test starts
    torch.set_num_threads(1)
    function(*arguments)


def run_module(name: str, arguments: list[str], output: Path) -> None:
    """Run a module as ``python -m`` does, and have what it prints in a file."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def printed_last(name: str, arguments: list[str], output: Path) -> Any:
    """Run a module in a process of its own and return the JSON that it prints last."""
    process = fork(run_module, name, arguments, output)
    process.join()
    assert process.exitcode == 0, output.read_text()[-3000:]
    return json.loads(output.read_text().splitlines()[-1])


def run_kedro(project: Path, arguments: list[str], output: Path) -> None:
    """Run ``kedro`` in a project as its command does, and have what it prints in a file."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(project)
    sys.argv = ["kedro", *arguments]
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    from unlearnable.cli import cli

    cli(arguments, prog_name="kedro")
