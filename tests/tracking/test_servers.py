"""Servers that are down, die, are slow or broken: the training goes on, and afterwards MLflow has 60 of 60 metrics."""

import psutil
import pytest

from tests.tracking.conftest import CELL, Place, all_metrics, train, until
from tests.tracking.servers import HOST, Gate, free_port, kill, mlflow_server
from tests.tracking.test_tracker import python
from unlearnable.tracking.feeder import unsent
from unlearnable.tracking.record import has_ended, reap

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def behind(tmp_path_factory) -> int:
    """The port of an MLflow server that serves the tests of this file."""
    port = free_port()
    with mlflow_server(tmp_path_factory.mktemp("server"), port):
        yield port


@pytest.fixture
def gate(behind) -> Gate:
    gate = Gate(behind)
    yield gate
    gate.shut()


@pytest.fixture
def place(tmp_path, gate) -> Place:
    """A project whose runs are tracked through the gate, in an experiment of their own."""
    return Place(tmp_path, uri=gate.url, experiment=tmp_path.name)


@pytest.fixture
def warnings(place, caplog):
    """What the user is warned of."""
    return lambda: place.hear() or [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]


def assert_complete(place: Place, status: str = "FINISHED") -> None:
    assert place.metrics("clean") == all_metrics()
    assert place.statuses() == {CELL: status, "clean": "FINISHED"}


def assert_two_lines(warnings, place: Place) -> None:
    first, last = warnings()
    assert first.startswith(f"MLflow at {place.values['tracking_uri']}: ")
    assert last.endswith(f"events were not sent to MLflow at {place.values['tracking_uri']}: 'kedro tracking replay' sends them")


def test_a_server_that_answers_has_everything_at_the_end(place, gate, warnings):
    gate.open()
    tracker = place.tracker()
    train(tracker)
    tracker.end()
    assert warnings() == []
    assert_complete(place)


def test_nothing_listens_at_the_start(place, gate, warnings):
    place.values["wait_s"] = 0.5
    tracker = place.tracker()
    train(tracker, pause_s=0.02)
    until(warnings)
    tracker.end()
    assert_two_lines(warnings, place)
    assert "Connection refused" in warnings()[0]
    gate.open()
    assert place.replay() == 1
    assert_complete(place)
    assert place.replay() == 0


def test_a_server_that_comes_late_gets_everything_without_a_replay(place, gate):
    tracker = place.tracker()
    train(tracker, at_epoch=lambda epoch: gate.open() if epoch == 15 else None, pause_s=0.1)
    tracker.end()
    assert_complete(place)


def test_a_server_goes_away_in_the_middle(place, gate, warnings):
    place.values["wait_s"] = 0.5
    gate.open()
    tracker = place.tracker()

    def at_epoch(epoch: int) -> None:
        if epoch == 10:
            until(lambda: len(place.metrics("clean")) >= 9)
            gate.shut()

    train(tracker, at_epoch=at_epoch, pause_s=0.02)
    until(warnings)
    tracker.end()
    assert_two_lines(warnings, place)
    gate.open()
    assert 0 < len(place.metrics("clean")) < len(all_metrics())
    assert place.replay() == 1
    assert_complete(place)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("delay_s", [0.8, pytest.param(30, marks=pytest.mark.slow)])
def test_a_server_answers_late(place, gate, delay_s):
    place.values["wait_s"] = 0
    gate.delay_s = delay_s
    gate.open()
    tracker = place.tracker()
    train(tracker)
    tracker.end()
    assert unsent(place.records[0]) > 0
    assert place.replay() == 1
    gate.delay_s = 0
    assert_complete(place)


def test_a_server_answers_500(place, gate, warnings):
    place.values["wait_s"] = 0.5
    gate.status = 500
    gate.open()
    tracker = place.tracker()
    train(tracker, pause_s=0.02)
    until(warnings)
    tracker.end()
    assert_two_lines(warnings, place)
    assert "500" in warnings()[0]
    gate.status = 0
    assert place.replay() == 1
    assert_complete(place)


@pytest.mark.parametrize("status", [200, 400, 404])
def test_the_port_is_taken_by_something_else(place, gate, warnings, status):
    place.values["wait_s"] = 0.5
    gate.status = status
    gate.open()
    tracker = place.tracker()
    train(tracker, pause_s=0.02)
    until(warnings)
    tracker.end()
    assert_two_lines(warnings, place)
    gate.status = 0
    assert place.replay() == 1
    assert_complete(place)


def test_a_request_that_hangs_does_not_keep_the_interpreter(place, gate):
    gate.delay_s = 60
    gate.open()
    process = python("tracker.end(); print('over', flush=True)", str(place.folder), gate.url, "0.5")
    lines = iter(process.stdout.readline, "")
    assert any(line == "over\n" for line in lines)
    assert process.wait(timeout=30) == 0  # half of what the server takes
    gate.delay_s = 0
    place.values["experiment"] = "unlearnable"
    assert place.replay() == 1
    assert_complete(place)


@pytest.mark.parametrize("wait_s", ["0.5", "3"])
def test_a_run_that_is_killed_leaves_no_process_that_waits_for_a_server(place, gate, wait_s):
    gate.delay_s = 60
    gate.open()
    process = python(
        "print('beside', tracker._delivery._process.pid, flush=True); os.kill(os.getpid(), 9)", str(place.folder), gate.url, wait_s
    )
    beside = psutil.Process(next(int(line.split()[1]) for line in process.stdout if line.startswith("beside ")))
    process.wait()
    until(lambda: not beside.is_running() or beside.status() == psutil.STATUS_ZOMBIE, timeout_s=25)  # long before the server answers
    reap(place.records[0])  # where it ended before it closed the record itself
    assert has_ended(place.records[0])


def test_a_loss_that_is_no_number_is_sent_once(place, gate):
    gate.open()
    record = place.record()
    for step, loss in enumerate((float("nan"), float("inf"), -float("inf"), 0.5)):
        record.append("metrics", step=step, values={"loss": loss})
    record.end("FAILED")
    assert place.replay() == 1
    record.path.with_suffix(".sent").unlink()
    assert place.replay() == 1
    assert [step for _, step, _ in sorted(place.metrics(CELL), key=lambda row: row[1])] == [0, 1, 2, 3]
    assert place.statuses() == {CELL: "FAILED"}


def test_a_password_stays_out_of_the_log(place, warnings):
    place.values |= {"tracking_uri": f"http://user:secret@{HOST}:{free_port()}", "wait_s": 0.5}
    tracker = place.tracker()
    train(tracker, pause_s=0.02)
    until(warnings)
    tracker.end()
    assert len(warnings()) == 2
    assert "secret" not in " ".join(warnings())


@pytest.mark.slow
def test_a_server_is_killed_in_the_middle_and_started_again(tmp_path):
    port = free_port()
    place = Place(tmp_path, uri=f"http://{HOST}:{port}", wait_s=0.5)
    with mlflow_server(tmp_path, port) as server:
        tracker = place.tracker()
        train(tracker, at_epoch=lambda epoch: kill(server) if epoch == 10 else None, pause_s=0.1)
        tracker.end()
    with mlflow_server(tmp_path, port):
        assert place.replay() == 1
        assert_complete(place)
