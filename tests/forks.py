"""Processes of tests that start in a tenth of a second: forks of one that has imported what they import."""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from unlearnable.study.forks import IMPORTED

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")


def fork(function: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """Call a function in a process of its own, with one thread for each library; return the process."""
    SERVER.set_forkserver_preload([*IMPORTED, "tests.conftest", "tests.forks"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT / "src"), str(ROOT), before)))  # where the server finds modules
    process = SERVER.Process(target=_called, args=(function, arguments))
    try:
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


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
