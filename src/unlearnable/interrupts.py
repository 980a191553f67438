"""A run that is asked to end: the signal is noted, and answered where nothing is left half-done by it.

An exception that a signal handler raises may come anywhere, in the middle of an import or in a callback that swallows it.
So long work asks ``answer`` at each of its steps; where none does for a while, a timer raises all the same.
"""

import signal

GRACE_S = 5.0


class InterruptedRun(KeyboardInterrupt):
    """A run was asked to end by the signal of that number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number  # what a shell says of a process that a signal ended

    def __str__(self) -> str:
        return f"interrupted by {signal.Signals(self.args[0]).name}"


_requested: list[int] = []


def request(number: int) -> None:
    """Note the signal, to be answered within GRACE_S; of the main thread only."""
    _requested.append(number)
    signal.signal(signal.SIGALRM, lambda *_: answer())
    signal.setitimer(signal.ITIMER_REAL, GRACE_S)


def answer() -> None:
    """Raise InterruptedRun if the run was asked to end."""
    if _requested:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise InterruptedRun(_requested[0])


def own(error: KeyboardInterrupt) -> KeyboardInterrupt:
    """Return the interruption that this process received, or ``error`` if there was none: a child that it ended reports SIGTERM."""
    return InterruptedRun(_requested[0]) if _requested else error


def withdraw() -> None:
    """Forget the interruption, since the run has ended. Without one, a timer that other code has set keeps running."""
    if _requested:
        _requested.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
