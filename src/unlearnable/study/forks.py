"""Runs as forks of one process that has imported everything, where each would spend seconds on the imports of Kedro and torch.

That process is the fork server of Python's multiprocessing: it imports and forks, and does nothing else, so it has no threads that a
fork would lack. It starts with the first run, and ends with the process that started it.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path

IMPORTED = [  # what runs import
    "torch._dynamo",  # which an optimiser imports at its first step
    "sklearn.datasets",
    "sklearn.model_selection",
    "kedro.framework.cli",
    "unlearnable.hooks",
    "unlearnable.config.loader",
    "unlearnable.artifacts.checkpoints",
    "unlearnable.sources.digits",
    "unlearnable.artifacts.reports",
    "unlearnable.artifacts.tensors",
    "unlearnable.reporting.cell",
    "unlearnable.pipelines.evaluate.scores",
    "unlearnable.pipelines.requirements",
    "unlearnable.study.forks",
    "unlearnable.summary",
]
SERVER_DIED = 255  # what multiprocessing says of a process whose exit code is not known
_children = threading.Lock()  # of multiprocessing: starting one also polls the others, and each exit code can be read once


def call(arguments: list[str], *, project: str, environment: Mapping[str, str], output: str) -> int:
    """Run ``kedro`` with these arguments in a process of its own; return its exit code, negative where a signal ended it.

    Args:
        arguments: of the command line, from the command on.
        project: the folder that it runs in.
        environment: of the process. What libraries read as they are imported, they have read at the first call.
        output: the file that gets what it prints.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=_run, args=(arguments, project, dict(environment), output))
    with _children, _seen_by_the_server(environment):
        multiprocessing.current_process().daemon = False  # as workers of Dask are, which then may have no children
        process.start()
    wait([process.sentinel])
    with _children:
        process.join()
    return -signal.SIGKILL if process.exitcode in (None, SERVER_DIED) else int(process.exitcode or 0)


def terminate() -> None:
    """Ask every run that ``call`` waits for to end."""
    with _children:
        for process in multiprocessing.active_children():
            process.terminate()


@contextmanager
def _seen_by_the_server(environment: Mapping[str, str]) -> Iterator[None]:
    """Have what the runs are to see in this process's own environment, which the server starts with."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        for name in environment.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _run(arguments: list[str], project: str, environment: dict[str, str], output: str) -> None:
    """Be the process of a run."""
    multiprocessing.set_start_method(None, force=True)  # the system's own, for whatever the run starts
    os.setpgid(0, 0)  # so that Ctrl-C reaches the study only, which interrupts its runs once
    threading.Thread(target=_die_with_the_study, daemon=True).start()
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(project)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["kedro", *arguments]
    from kedro.framework.startup import bootstrap_project

    package = bootstrap_project(Path(project)).package_name
    commands = import_module(f"{package}.cli")  # as Kedro finds a project's commands; its own would load every plugin first
    commands.cli(arguments, prog_name="kedro")


def _die_with_the_study() -> None:
    """Wait for the process that started this run, and die with it: a resumed study makes the same part again."""
    study = multiprocessing.parent_process()
    if study is not None:
        study.join()
        os.kill(os.getpid(), signal.SIGKILL)
