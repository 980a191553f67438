"""Executors of a study: processes of this machine, or workers of a Dask cluster."""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from unlearnable import __version__
from unlearnable.errors import InputError
from unlearnable.study import forks
from unlearnable.study.work import PROJECT, about, odd

PATIENCE_S = 10


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Team:
    """An executor of a study.

    Args:
        executor: takes assignments.
        slots: how many parts it works at, at a time; workers may come and go.
    """

    executor: Executor
    slots: Callable[[], int]


@contextmanager
def processes(count: int) -> Iterator[Team]:
    """Yield a team of as many runs at a time; each is a process, for which a thread of this one waits."""
    executor = ThreadPoolExecutor(count, thread_name_prefix="study")
    try:
        yield Team(executor=executor, slots=lambda: count)
    except BaseException:  # an interrupt: runs note that they were killed, and what they have saved is kept
        forks.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def dask(scheduler: str | None, count: int) -> Iterator[Team]:
    """Yield the workers of a Dask cluster: the one at ``scheduler``, or one of ``count`` processes of this machine.

    Raises:
        InputError: the scheduler does not answer, has no workers, or one has other packages than this process.
    """
    from distributed import Client, LocalCluster

    with _quiet(), _cluster(LocalCluster, scheduler, count) as address, _client(Client, address) as client:
        _require_workers(client, address)
        yield Team(executor=client.get_executor(pure=False), slots=lambda: max(1, sum(client.nthreads().values())))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's messages about workers that come and go: the study reports its cells itself."""
    loud = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loud]
    for logger in loud:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loud, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _cluster(kind: Any, scheduler: str | None, count: int) -> Iterator[str]:
    if scheduler is not None:
        yield scheduler
        return
    import dask

    # Runs have the cores; a worker that waits for one need not look a hundred times a second at what it does.
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        kind(n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as cluster,
    ):
        yield cluster.scheduler_address


@contextmanager
def _client(kind: Any, address: str) -> Iterator[Any]:
    try:
        client = kind(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--scheduler: expected a Dask scheduler that answers at {address}, got {reason}") from error
    try:
        yield client
    finally:
        with suppress(Exception):  # a scheduler that has gone
            client.close(PATIENCE_S)


def _require_workers(client: Any, address: str) -> None:
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=PATIENCE_S)
    found = client.run(about, on_error="return")
    if not found:
        raise InputError(f"--scheduler: expected at least one worker at {address}, got none within {PATIENCE_S} s")
    for worker, theirs in found.items():
        _require(f"worker {worker}", expected(), theirs)
    try:
        theirs = client.run_on_scheduler(about)
    except Exception as error:  # it unpacks what is sent to workers
        theirs = error
    _require(f"scheduler {address}", {"unlearnable": __version__}, theirs)


def _require(who: str, wanted: dict[str, str], theirs: dict[str, str] | BaseException) -> None:
    if isinstance(theirs, BaseException):
        reason = " ".join(str(theirs).split())
        raise InputError(f"{who}: expected it to be started with this project's packages and PYTHONPATH=src, got {reason}")
    if wrong := odd(wanted, theirs):
        raise InputError(f"{who}: {wrong}")


def expected() -> dict[str, str]:
    """Return what ``about`` is to say on a worker."""
    return about() | {"working directory": PROJECT}
