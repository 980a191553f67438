"""`kedro runs reap` and `kedro tracking replay`, and a run that is killed."""

import os
import signal
import time
from multiprocessing.context import ForkServerProcess

import pytest
import yaml
from click.testing import CliRunner

from tests.conftest import copy_project
from tests.forks import fork, run_kedro
from tests.tracking.conftest import CELL, Place, all_metrics, train, until
from tests.tracking.servers import HOST, free_port
from unlearnable.cli import cli
from unlearnable.tracking.feeder import unsent
from unlearnable.tracking.record import has_ended, read, records


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    """A whole project."""
    folder = copy_project(tmp_path / "project", tracked=True)
    (folder / "conf" / "local" / "mlflow.yml").unlink()  # tests change that of the environment
    monkeypatch.chdir(folder)
    return Place(folder)


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*arguments, "--env=test"])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def configure(place: Place, **changed) -> None:
    """Change ``mlflow.yml`` of the environment."""
    file = place.folder / "conf" / "test" / "mlflow.yml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changed))
    place.values |= changed


def test_where_nothing_is_missing_both_say_so(place):
    assert command("runs", "reap") == (0, "nothing to close\n")
    assert command("tracking", "replay") == (0, "nothing is missing\n")


def test_replay_says_what_it_sent_and_what_it_could_not(place):
    uri = f"http://{HOST}:{free_port()}"
    configure(place, tracking_uri=uri, wait_s=0)
    for _ in range(2):
        tracker = place.tracker()
        train(tracker, pause_s=0.02)
        tracker.end()
    code, output = command("tracking", "replay")
    assert (code, output) == (1, f"Error: MLflow at {uri}: [Errno 111] Connection refused; 'kedro tracking replay' sends the rest\n")
    configure(place, tracking_uri="sqlite:///mlflow.db")
    code, output = command("tracking", "replay")
    lines = [f"orthoproj lsp none small_cnn seed 0: {unsent_events(record)} events sent" for record in place.records]
    assert (code, output.splitlines()) == (0, lines)
    for record in place.records:
        assert place.metrics("clean", record) == all_metrics()
    assert command("tracking", "replay") == (0, "nothing is missing\n")


def unsent_events(record) -> int:
    return sum(1 for _ in read(record))


def test_where_no_server_is_named_a_run_records_itself_and_replay_says_so(place):
    configure(place, tracking_uri=None)
    tracker = place.tracker()
    train(tracker)
    tracker.end()
    assert command("runs", "reap") == (0, "nothing to close\n")
    assert command("tracking", "replay") == (1, "Error: mlflow.yml: 'tracking_uri': expected a server to send records to, got none\n")
    configure(place, tracking_uri="sqlite:///mlflow.db")
    command("tracking", "replay")
    assert place.metrics("clean") == all_metrics()


def test_a_wrong_setting_or_environment_is_one_line(place):
    result = CliRunner().invoke(cli, ["runs", "reap", "--env=tset"])
    assert result.exit_code == 1
    assert "Error: unknown environment 'tset'" in result.output
    configure(place, wait_s="long")
    assert command("tracking", "replay") == (1, "Error: mlflow.yml: 'wait_s': expected a valid number, got 'long'\n")


def kedro_run(place: Place, *parameters: str) -> ForkServerProcess:
    arguments = ["--env=test", "--pipeline=orthoproj", "--params=" + ",".join(["train.epochs=500", *parameters])]
    return fork(run_kedro, place.folder, ["run", *arguments], place.folder / "printed")


def wait_for_epochs(place: Place, process: ForkServerProcess, epochs: int, *, run: int = 1) -> None:
    """Wait until the given run of this project has recorded so many epochs."""
    for _ in range(1200):
        assert process.is_alive(), (place.folder / "printed").read_text()
        found = records(place.folder / "data" / "09_tracking")
        if len(found) == run and sum(event["event"] == "metrics" for event, _ in read(found[-1])) >= epochs:
            return
        time.sleep(0.05)
    raise TimeoutError


def test_a_run_that_was_killed_is_closed_and_sent(place):
    """By the process beside it."""
    process = kedro_run(place)
    wait_for_epochs(place, process, 3)
    until(lambda: place.metrics("clean"))
    assert command("runs", "reap")[1] == "nothing to close\n"
    process.kill()
    process.join()
    until(lambda: has_ended(place.records[0]) and unsent(place.records[0]) == 0)
    assert command("runs", "reap") == (0, "nothing to close\n")
    assert place.statuses() == {CELL: "KILLED", "crafting": "FINISHED", "clean": "KILLED"}
    recorded = [event for event, _ in read(place.records[0]) if event["event"] == "metrics" and event["label"] == "clean"]
    assert len(recorded) >= 3
    assert len(place.metrics("clean")) == sum(len(event["values"]) for event in recorded)
    assert unsent(place.records[0]) == 0


def test_a_killed_run_without_a_process_beside_it_is_closed_by_the_command(place):
    place.record(name="orthoproj lsp seed 0").close()
    assert command("runs", "reap") == (0, "orthoproj lsp seed 0: KILLED\n")
    assert command("runs", "reap") == (0, "nothing to close\n")
    assert place.statuses() == {CELL: "KILLED"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_that_are_killed_at_any_time_lose_nothing(place):
    """Ten kills, from before the first epoch on; each next run closes and sends what the last one left."""
    for trial in range(10):
        process = kedro_run(place, f"seed={trial}")
        wait_for_epochs(place, process, 3 * trial % 10, run=trial + 1)
        time.sleep(0.13 * trial)
        process.kill()
        process.join()
    command("runs", "reap")
    assert len(place.records) == 10
    for record in place.records:
        events = [event for event, _ in read(record)]
        assert set(place.statuses(record).values()) <= {"KILLED", "FINISHED"}
        assert place.statuses(record)[CELL] == "KILLED"
        values = sum(len(event["values"]) for event in events if event["event"] == "metrics" and event["label"] == "clean")
        assert len(place.metrics("clean", record)) == values


@pytest.mark.slow
def test_an_interrupted_run_is_killed(place):
    process = kedro_run(place)
    wait_for_epochs(place, process, 3)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert place.statuses() == {CELL: "KILLED", "crafting": "FINISHED", "clean": "KILLED"}
