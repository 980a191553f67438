"""Records: what was acknowledged is there after any end, and a dead process is told from a living one."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from unlearnable.tracking import record as record_module
from unlearnable.tracking.record import CELL, Record, is_live, name_of, read, reap, records

START = {"name": "a cell", "experiment": "unlearnable", "params": {"seed": "0"}, "tags": {}}


def events(path) -> list[dict]:
    return [event for event, _ in read(path)]


def forked(work) -> int:
    """Run ``work`` in a child process; return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def dead_record(folder):
    """A record whose process was killed while a training was open."""

    def work() -> None:
        record = Record.create(folder, **START)
        record.append("start", "clean", name="train-clean", params={})
        record.append("metrics", "clean", step=1, values={"loss": 0.5}, time=1234)
        time.sleep(60)

    pid = forked(work)
    while not (found := records(folder)) or len(events(found[0])) < 3:
        time.sleep(0.005)
    return found[0], pid


def test_what_is_appended_is_read(tmp_path):
    record = Record.create(tmp_path / "new" / "folder", **START)
    record.append("metrics", "clean", step=1, values={"loss": float("nan"), "accuracy": 0.25})
    record.end("FINISHED")
    start, metrics, end = events(record.path)
    assert {name: start[name] for name in START} == START
    assert (start["event"], start["label"]) == ("start", CELL)
    assert metrics["values"]["accuracy"] == 0.25
    assert metrics["values"]["loss"] != metrics["values"]["loss"]
    assert end["status"] == "FINISHED"
    assert start["time"] <= metrics["time"] <= end["time"] <= time.time() * 1000
    assert name_of(record.path) == "a cell"


def test_an_event_is_on_the_disk_before_it_is_acknowledged(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(record_module.os, "fsync", synced.append)
    record = Record.create(tmp_path, **START)
    record.append("metrics", step=1, values={})
    assert len(synced) == 2


def test_a_process_that_is_forked_while_a_thread_writes_can_write(tmp_path, monkeypatch):
    record = Record.create(tmp_path, **START)
    writing = threading.Event()

    def slow(file: int) -> None:
        writing.set()
        time.sleep(0.5)

    monkeypatch.setattr(record_module.os, "fsync", slow)
    thread = threading.Thread(target=record.append, args=("metrics",), kwargs={"step": 1, "values": {}})
    thread.start()
    writing.wait()
    child = forked(lambda: record.append("metrics", step=2, values={}))
    thread.join()
    deadline = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            killed(child)
            pytest.fail("the forked process waits for ever")
        time.sleep(0.05)
    assert [event["step"] for event in events(record.path) if event["event"] == "metrics"] == [1, 2]


def test_reading_goes_on_from_any_event(tmp_path):
    record = Record.create(tmp_path, **START)
    for step in range(5):
        record.append("metrics", step=step, values={})
    found = list(read(record.path))
    for place, (_, after) in enumerate(found):
        assert list(read(record.path, after)) == found[place + 1 :]


def test_half_a_line_is_left_out(tmp_path):
    record = Record.create(tmp_path, **START)
    with record.path.open("ab") as file:
        file.write(b'{"event": "metr')
    assert len(events(record.path)) == 1


def test_a_line_that_a_power_cut_emptied_harms_no_other(tmp_path):
    record = Record.create(tmp_path, **START)
    with record.path.open("ab") as file:
        file.write(b"\0" * 100 + b"\n")
    record.append("metrics", step=1, values={})
    assert [event["event"] for event in events(record.path)] == ["start", "unreadable", "metrics"]


def test_threads_do_not_mix_their_lines(tmp_path):
    record = Record.create(tmp_path, **START)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda step: record.append("metrics", step=step, values={"loss": 1.0}), range(400)))
    assert sorted(event["step"] for event in events(record.path)[1:]) == list(range(400))


def test_a_full_disk_raises_and_leaves_a_record_that_goes_on(tmp_path, monkeypatch):
    record = Record.create(tmp_path, **START)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, line: write(file, line[: len(line) // 2]))
        with pytest.raises(OSError, match="No space left"):
            record.append("metrics", step=1, values={})
    record.append("metrics", step=2, values={})
    assert [event.get("step") for event in events(record.path)] == [None, 2]


def test_after_the_end_nothing_is_written(tmp_path):
    record = Record.create(tmp_path, **START)
    record.append("start", "clean", name="train-clean", params={})
    record.end("FAILED", "it broke")
    before = events(record.path)
    record.append("metrics", "clean", step=1, values={})
    record.end("FINISHED")
    assert events(record.path) == before
    assert [(event["label"], event["status"], event.get("error")) for event in before[2:]] == [
        ("clean", "FAILED", None),
        (CELL, "FAILED", "it broke"),
    ]


def test_a_living_run_is_left_alone_and_a_killed_one_is_closed_once(tmp_path):
    path, pid = dead_record(tmp_path)
    assert is_live(path)
    assert not reap(path)
    killed(pid)
    assert not is_live(path)
    with path.open("ab") as file:
        file.write(b'{"event": "metr')
    assert reap(path)
    assert not reap(path)
    ends = events(path)[3:]
    assert [(end["label"], end["status"], end["time"]) for end in ends] == [("clean", "KILLED", 1234), (CELL, "KILLED", 1234)]


def test_a_run_that_just_starts_is_never_taken_for_a_dead_one(tmp_path):
    def close_all(_) -> int:
        return sum(reap(path) for path in records(tmp_path))

    with ThreadPoolExecutor(2) as threads:
        closed = threads.map(close_all, range(120))
        for _ in range(60):
            Record.create(tmp_path, **START).end("FINISHED")
        assert sum(closed) == 0


def test_who_waited_for_the_lock_looks_again(tmp_path, monkeypatch):
    path, pid = dead_record(tmp_path)
    killed(pid)
    locked = record_module._locked

    def late(*arguments) -> bool:
        monkeypatch.setattr(record_module, "_locked", locked)
        assert reap(path), "another one closes it first"
        return locked(*arguments)

    monkeypatch.setattr(record_module, "_locked", late)
    assert not reap(path)
    assert len(events(path)) == 5


@pytest.mark.parametrize("step", ["fcntl.flock", "os.write"])
def test_a_record_has_no_name_before_it_is_locked_and_has_its_start(tmp_path, monkeypatch, step):
    def fails(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(step, fails)
    with pytest.raises(OSError, match="no locks here"):
        Record.create(tmp_path, **START)
    assert not list(tmp_path.iterdir())


def test_many_who_close_at_once_close_once(tmp_path):
    path, pid = dead_record(tmp_path)
    killed(pid)
    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(lambda _: reap(path), range(64))) == 1
    assert len(events(path)) == 5


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_a_kill(tmp_path, kills):
    """The child says which step is on the disk; after the kill that step and all before it are in the record."""
    rng = random.Random(0)  # noqa: S311
    for trial in range(kills):
        heard, said = os.pipe()

        def work(said: int = said, folder=tmp_path / str(trial)) -> None:
            record = Record.create(folder, **START)
            for step in range(100_000):
                record.append("metrics", step=step, values={"loss": 0.5})
                os.write(said, b"%d\n" % step)

        pid = forked(work)
        os.close(said)
        os.read(heard, 1)
        time.sleep(rng.random() * 0.03)
        killed(pid)
        acknowledged = int((b"0" + os.read(heard, 1 << 20)).rstrip(b"\n").split(b"\n")[-1] or 0)
        os.close(heard)
        [path] = records(tmp_path / str(trial))
        steps = [event["step"] for event in events(path)[1:]]
        assert steps == list(range(len(steps)))
        assert len(steps) > acknowledged
        assert reap(path)
