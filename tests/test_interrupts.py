"""A run that is asked to end, by itself; whole runs are asked in tests/faults/test_runs.py."""

import copy
import os
import signal
import time

import pytest

from unlearnable import interrupts
from unlearnable.interrupts import InterruptedRun, answer, request, withdraw
from unlearnable.pipelines.progress import bar
from unlearnable.session import _signals_end_it


@pytest.fixture(autouse=True)
def _forgotten():
    before = signal.getsignal(signal.SIGALRM)
    yield
    withdraw()
    signal.signal(signal.SIGALRM, before)


def test_nothing_was_asked():
    answer()


@pytest.mark.parametrize(("number", "code", "words"), [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_the_answer_names_the_signal(number, code, words):
    request(number)
    with pytest.raises(InterruptedRun, match=f"interrupted by {words}") as raised:
        answer()
    assert raised.value.exit_code == code
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_it_goes_from_process_to_process():
    again = copy.copy(InterruptedRun(15))  # as a pickle makes it
    assert (again.exit_code, str(again)) == (143, "interrupted by SIGTERM")


def test_long_work_asks_at_every_step():
    with bar("work") as progress:
        progress(1, 2)
        request(signal.SIGINT)
        with pytest.raises(InterruptedRun):
            progress(2, 2)


def test_where_nobody_asks_a_timer_raises(monkeypatch):
    monkeypatch.setattr(interrupts, "GRACE_S", 0.05)
    request(signal.SIGTERM)
    with pytest.raises(InterruptedRun):
        time.sleep(10)


def test_what_was_withdrawn_is_not_answered(monkeypatch):
    monkeypatch.setattr(interrupts, "GRACE_S", 0.05)
    request(signal.SIGTERM)
    withdraw()
    time.sleep(0.1)
    answer()


def test_a_session_takes_signals_and_gives_them_back():
    def run():
        with _signals_end_it():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            answer()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRun):
        run()
    assert signal.getsignal(signal.SIGINT) == before
    answer()


def test_a_session_without_a_signal_leaves_the_timer_of_its_host():
    before = signal.setitimer(signal.ITIMER_REAL, 100)
    with _signals_end_it():
        pass
    assert signal.setitimer(signal.ITIMER_REAL, *before)[0] > 90


def test_a_run_ends_by_the_signal_that_it_got_whatever_its_children_tell():
    told = interrupts.InterruptedRun(signal.SIGTERM)
    assert interrupts.own(told) is told
    interrupts.request(signal.SIGINT)
    try:
        assert interrupts.own(told).exit_code == 130
    finally:
        interrupts.withdraw()
