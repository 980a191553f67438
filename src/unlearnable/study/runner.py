"""Running a study: every part once, those that others depend on first; if one fails, the others continue."""

import heapq
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import replace
from graphlib import TopologicalSorter

from unlearnable.errors import InputError
from unlearnable.study.cells import Part
from unlearnable.study.executors import Team
from unlearnable.study.work import Assignment, Outcome, perform

Assign = Callable[[Part], Assignment]
Told = Callable[[Part], None]
Make = Callable[[Assignment], Outcome]


def work_off(parts: Mapping[str, Part], team: Team, assign: Assign, begin: Told, *, tries: int, make: Make = perform) -> Iterator[Outcome]:
    """Make ``parts`` and yield how each ended, in the order of their ends.

    What was killed is made again, up to ``tries`` times in all. Parts that depend on a failed part fail with it, and the others continue.

    Args:
        parts: by key.
        team: who makes them.
        assign: returns what a worker needs to know of a part.
        begin: called as the making of a part begins.
        tries: how often a part is started that is killed again and again.
        make: what a worker does.
    """
    order = TopologicalSorter({key: [each for each in part.before if each in parts] for key, part in parts.items()})
    order.prepare()
    ranks = {key: (part.node is None, place) for place, (key, part) in enumerate(parts.items())}  # what is shared goes first
    waiting: list[tuple[tuple[bool, int], str]] = []
    running: dict[Future[Outcome], tuple[str, int]] = {}
    failed: dict[str, str] = {}

    def start(key: str, number: int) -> None:
        begin(parts[key])
        running[team.executor.submit(make, assign(parts[key]))] = (key, number)

    while order.is_active():
        for key in order.get_ready():
            heapq.heappush(waiting, (ranks[key], key))
        while waiting and len(running) < team.slots():
            _, key = heapq.heappop(waiting)
            if lost := [each for each in parts[key].before if each in failed]:
                yield from _ended(Outcome(key=key, error=f"{parts[lost[0]].label} was not made: {failed[lost[0]]}"), order, failed)
            else:
                start(key, 1)
        for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
            key, number = running.pop(future)
            outcome = _outcome(key, future)
            if outcome.killed and number < tries:
                start(key, number + 1)
            else:
                again = f", {number} times" if outcome.killed else ""
                yield from _ended(replace(outcome, error=outcome.error and outcome.error + again), order, failed)


def _ended(outcome: Outcome, order: "TopologicalSorter[str]", failed: dict[str, str]) -> Iterator[Outcome]:
    if outcome.error:
        failed[outcome.key] = outcome.error
    yield outcome
    order.done(outcome.key)


def _outcome(key: str, future: "Future[Outcome]") -> Outcome:
    """Return how a part ended, also where its worker did not live to say so."""
    try:
        error = future.exception()
    except CancelledError:
        raise InputError("the study's workers: expected an answer, got none: their scheduler is gone; finished results are kept") from None
    return future.result() if error is None else Outcome(key=key, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
