"""The tracker: what a run records, and that nothing of it harms the run."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from tests.conftest import ROOT
from tests.forks import fork
from tests.tracking.conftest import CELL, METRICS, Place, all_metrics, measured, train, until
from unlearnable import __version__
from unlearnable.config.recipe import FORMAT
from unlearnable.errors import InputError
from unlearnable.tracking import Tracker
from unlearnable.tracking.feeder import Feeder, unsent
from unlearnable.tracking.record import read

HEAD = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or None


class Interrupted(KeyboardInterrupt):
    """A signal that is raised as an exception."""


def test_a_run_is_in_mlflow_when_it_ends(place, caplog):
    tracker = place.tracker()
    train(tracker)
    tracker.end()
    assert place.metrics("clean") == all_metrics()
    assert place.statuses() == {CELL: "FINISHED", "clean": "FINISHED"}
    cell = place.runs()[CELL]
    assert cell.info.run_name == "orthoproj lsp none small_cnn seed 0"
    assert cell.data.params == {
        "dataset": "digits",
        "poison": "lsp",
        "recovery": "none",
        "model": "small_cnn",
        "seed": "0",
        "train.epochs": "20",
    }
    assert {"recipe.clean_train": "0123", "pipeline": "orthoproj", "env": "test"}.items() <= cell.data.tags.items()
    assert {"mlflow.user", "mlflow.source.name"} <= set(cell.data.tags)
    clean = place.runs()["clean"]
    assert clean.data.params == cell.data.params | {"training": "clean"}
    for run in (cell, clean):
        assert run.data.tags["unlearnable.version"] == __version__
        assert run.data.tags.get("mlflow.source.git.commit") == HEAD
    [images] = [given.dataset for given in cell.inputs.dataset_inputs]
    assert (images.name, images.digest, json.loads(images.source)) == ("digits", "0123", {"type": "digits", "sha256": "abcd"})
    assert not [line for line in caplog.records if line.levelname != "INFO"]


@pytest.mark.parametrize(("tags", "said"), [({"env": "test"}, 1), ({"format": "4"}, 1), ({"format": str(FORMAT)}, 0)])
def test_results_of_an_earlier_format_are_told_of_once(tags, said, place, caplog):
    place.record(tags=tags).end("FINISHED")
    for _ in range(2):
        place.tracker().end()
    lines = [line.getMessage() for line in caplog.records if "of an earlier version" in line.getMessage()]
    assert lines == ["results in data have format 4, of an earlier version: they are not used, and are made again (now: 6)"] * said


def test_a_first_run_tells_of_no_earlier_results(place, caplog):
    place.tracker().end()
    assert "earlier version" not in caplog.text


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("it\nbroke"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (Interrupted("SIGTERM"), "KILLED")]
)
def test_an_error_ends_the_run_and_its_children(place, error, status):
    tracker = place.tracker()
    tracker.start_child("clean", "train-clean")
    with pytest.raises(type(error)), tracker.ended_by_errors():
        raise error
    tracker.end()
    tracker.log_step("clean", 1, {"loss": 0.5})
    assert place.statuses() == {CELL: status, "clean": status}
    assert place.runs()[CELL].data.tags.get("error") == (" ".join(str(error).split()) or None)


def test_a_resumed_training_brings_its_whole_curve(place):
    tracker = place.tracker()
    tracker.start_child("clean", "train-clean")
    history = [measured(epoch) for epoch in range(1, 21)]
    for epoch in (7, 8, 12, 20):
        tracker.log_history("clean", history[:epoch])
    tracker.end_child("clean")
    tracker.end()
    assert place.metrics("clean") == all_metrics()
    assert len([event for event, _ in read(place.records[0]) if event["event"] == "metrics"]) == 20


def test_what_a_training_is_made_on_is_a_tag_of_its_run_once(place):
    tracker = place.tracker()
    tracker.start_child("clean", "train-clean")
    for _ in range(3):
        tracker.log_made_on("clean", {"device": "cuda", "name": "a card"})
    tracker.log_made_on("clean", {"device": "cuda", "name": "a card, then another"})
    tracker.end_child("clean")
    tracker.end()
    tags = place.runs()["clean"].data.tags
    assert (tags["made_on.device"], tags["made_on.name"]) == ("cuda", "a card, then another")
    noted = [event["values"] for event, _ in read(place.records[0]) if event["event"] == "tags" and event["label"] == "clean"]
    assert [values["made_on.name"] for values in noted] == ["a card", "a card, then another"]


def test_scores_and_figures_are_artifacts(place):
    tracker = place.tracker()
    figure = place.folder / "data" / "accuracy.png"
    figure.write_bytes(b"a figure")
    tracker.log_scores("scores", {"accuracy": {"clean": {"last": 0.5, "peak": 0.75}}, "seconds": {"clean": 2.0}}, [figure])
    tracker.end()
    assert place.metrics(CELL) == [("accuracy.clean.last", 0, 0.5), ("accuracy.clean.peak", 0, 0.75), ("seconds.clean", 0, 2.0)]
    assert {file.path for file in place.client().list_artifacts(place.runs()[CELL].info.run_id)} == {"scores.json", "accuracy.png"}


def test_of_scores_the_numbers_are_metrics(place):
    tracker = place.tracker()
    found = {"train_accuracy": 0.5, "held_out_accuracy": None, "ended": "step limit", "iterations": 7}
    tracker.log_scores("separability_scores", {"seed": 3, "separability": {"clean": found}, "versions": {"major": 1}}, [])
    tracker.end()
    assert place.metrics(CELL) == [("separability.clean.iterations", 0, 7.0), ("separability.clean.train_accuracy", 0, 0.5)]
    assert {file.path for file in place.client().list_artifacts(place.runs()[CELL].info.run_id)} == {"separability_scores.json"}


def test_of_an_audit_the_main_numbers_are_metrics(place):
    """And names that MLflow does not allow are made ones that it does."""
    way = {"accuracy": 0.5, "interval": [0.4, 0.6], "learned": 0.25, "learned_interval": [0.1, 0.3]}
    audit = {"test_images": 50, "originals": {"accuracy": 0.75, "interval": [0.7, 0.8]}, "ways": {"a new head on 5,000 clean images": way}}
    audit |= {"perceptibility": {"changed": 1.0, "median": {"l2": 0.5}}, "separability": {"clean": 1}, "epochs": 3, "verdict": "It holds."}
    projection = {"removed_directions": 10, "captured_energy": 0.7}
    tracker = place.tracker()
    tracker.log_scores("audit_scores", {"audit": audit, "projection": projection}, [])
    tracker.end()
    assert {name: value for name, _, value in place.metrics(CELL)} == {
        "audit.originals.accuracy": 0.75,
        "audit.ways.a_new_head_on_5000_clean_images.accuracy": 0.5,
        "audit.ways.a_new_head_on_5000_clean_images.learned": 0.25,
        "audit.perceptibility.changed": 1.0,
        "audit.perceptibility.median.l2": 0.5,
        "projection.removed_directions": 10,
        "projection.captured_energy": 0.7,
    }


def test_a_setting_that_stands_in_every_epoch_is_no_metric(place):
    tracker = place.tracker()
    tracker.start_child("clean", "train-clean")
    tracker.log_history("clean", [{"loss": 0.5, "threads": 2}])
    tracker.end()
    assert place.metrics("clean") == [("loss", 1, 0.5)]


def test_a_full_disk_does_not_hide_the_error(place, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    tracker = place.tracker()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ValueError, match="the first error"), tracker.ended_by_errors():
        raise ValueError("the first error")
    assert "the end of the run is not recorded: [Errno 28] No space left on device" in caplog.messages


def test_the_machine_is_measured_until_the_end(place, monkeypatch):
    monkeypatch.setattr("unlearnable.tracking.system.INTERVAL_S", 0.05)
    place.values["system_metrics"] = True
    tracker = place.tracker()
    until(lambda: sum(event["event"] == "metrics" for event, _ in read(place.records[0])) >= 3)
    tracker.end()
    size = place.records[0].stat().st_size
    assert {name for name, *_ in place.metrics(CELL)} >= {f"system/{name}" for name in of_mlflow()}
    until(lambda: "system-metrics" not in {thread.name for thread in threading.enumerate()}, timeout_s=10)
    assert place.records[0].stat().st_size == size


def of_mlflow() -> set[str]:
    """Return the names that MLflow's own sensors give what every machine has, and its page looks for."""
    sensors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for sensor in sensors:
        sensor.collect_metrics()
    return {name for sensor in sensors for name in sensor.aggregate_metrics()}


def test_sensors_that_break_harm_nothing(place, monkeypatch):
    monkeypatch.setattr("unlearnable.tracking.system.INTERVAL_S", 0.01)
    monkeypatch.setattr("unlearnable.tracking.system.machine", lambda: 1 / 0)
    place.values["system_metrics"] = True
    tracker = place.tracker()
    train(tracker)
    tracker.end()
    assert place.metrics("clean") == all_metrics()


@pytest.mark.parametrize("uri", ["nonsense://server", "http://", "http://no such host:1", "://"])
def test_a_server_that_cannot_be_is_one_that_is_down(place, caplog, uri):
    place.values |= {"tracking_uri": uri, "wait_s": 1}
    tracker = place.tracker()
    train(tracker)
    until(lambda: place.hear() or caplog.messages)
    tracker.end()
    warned, left = caplog.messages
    assert warned.startswith(f"MLflow at {uri}: ")
    assert re.fullmatch(r"\d+ events were not sent to MLflow at .*: 'kedro tracking replay' sends them", left)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"wait_s": "long"}, "mlflow.yml: 'wait_s': expected a valid number, got 'long'"),
        ({"wait_s": -1}, "mlflow.yml: 'wait_s': expected greater than or equal to 0, got -1"),
        ({"tracking_uri": 3}, "mlflow.yml: 'tracking_uri': expected a valid string, got 3"),
        ({"trackign_uri": "x"}, "mlflow.yml: 'trackign_uri': expected no such setting, got 'x'"),
    ],
)
def test_a_wrong_setting_is_one_line(place, changed, message):
    with pytest.raises(InputError) as error:
        Tracker(place.values | changed, place.folder)
    assert str(error.value) == message


def test_a_process_that_cannot_be_started_is_told_of_and_the_run_goes_on(place, monkeypatch, caplog):
    def none():
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("unlearnable.tracking.delivery.start", none)
    tracker = place.tracker()
    train(tracker)
    tracker.end()
    [said] = caplog.messages
    assert said.startswith("nothing is sent to MLflow at ")
    assert said.endswith(": [Errno 11] Resource temporarily unavailable; 'kedro tracking replay' sends the record later")
    assert place.replay() == 1
    assert place.metrics("clean") == all_metrics()


def test_a_process_that_ends_early_costs_nothing(place, caplog):
    """Killed by somebody, or by the system for its memory."""
    tracker = place.tracker()
    tracker._delivery._process.kill()
    tracker._delivery._process.wait()
    train(tracker)
    tracker.end()
    assert caplog.messages[-1].endswith("'kedro tracking replay' sends them")
    assert place.replay() == 1
    assert place.metrics("clean") == all_metrics()


APART = """
    import os, subprocess, sys
    from pathlib import Path
    from unlearnable.tracking import Tracker, delivery
    values = {{"tracking_uri": "sqlite:///mlflow.db", "experiment": "a", "system_metrics": True, "models": True}}
    values |= {{"records": "data/09_tracking", "wait_s": 60}}
    tracker = Tracker(values, Path(sys.argv[1]))
    tracker.start(name="a run", params={{}}, tags={{}})
    beside = tracker._delivery._process.pid
    tracker.end()
    assert not Path(f"/proc/{{beside}}").exists(), "it has ended, and is no zombie"
    assert not {{"mlflow", "torch"}} & set(sys.modules)
    import unlearnable.tracking.feed
    unlearnable.tracking.feed.Server("sqlite:///mlflow.db", Path(sys.argv[1])).client
    assert "mlflow" in sys.modules and "torch" not in sys.modules
"""


def test_a_run_imports_no_mlflow_and_the_process_beside_it_no_torch(place):
    process = python("", str(place.folder), code=APART)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    place.values["experiment"] = "a"
    assert place.statuses() == {CELL: "FINISHED"}


LEFT = """
    import os, sys, time
    from pathlib import Path
    from tests.tracking.conftest import Place, train
    place = Place(Path(sys.argv[1]), uri=sys.argv[2], wait_s=float(sys.argv[3]))
    tracker = place.tracker()
    train(tracker)
    {then}
"""


def python(then: str, *arguments: str, code: str = LEFT) -> subprocess.Popen:
    """Run a training in a process of its own, and then some more lines."""
    code = textwrap.dedent(code).format(then=then)
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def trained(folder: Path, uri: str, wait_s: float, pause_s: float = 0.0) -> None:
    """Be a run that trains and does not say that it has ended."""
    train(Place(folder, uri=uri, wait_s=wait_s).tracker())
    (folder / "trained").touch()
    time.sleep(pause_s)


def test_the_next_run_closes_and_sends_what_a_killed_one_left(place):
    process = fork(trained, place.folder, "sqlite:////no/such/folder/x.db", 0, 60)
    until((place.folder / "trained").exists)
    process.kill()
    process.join()
    [dead] = place.records
    tracker = place.tracker()
    until(lambda: unsent(dead) == 0)
    tracker.end()
    assert place.statuses(dead) == {CELL: "KILLED", "clean": "FINISHED"}
    assert place.metrics("clean", dead) == all_metrics()
    assert place.statuses(place.records[1]) == {CELL: "FINISHED"}


def test_a_record_that_another_process_is_still_sending_is_tried_again(place):
    left = place.record()
    left.end("FINISHED")
    with Feeder(left.path, place.server):
        tracker = place.tracker()
        current = place.records[1]
        until(lambda: unsent(current) == 0)  # the process beside the run has looked at both
        time.sleep(1)
    until(lambda: unsent(left.path) == 0)
    tracker.end()
    assert place.statuses(left.path) == {CELL: "FINISHED"}


def test_an_interpreter_that_exits_without_an_end_leaves_a_killed_run(place):
    process = python("sys.exit(3)", str(place.folder), "sqlite:///mlflow.db", "30")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
    assert place.statuses() == {CELL: "KILLED", "clean": "FINISHED"}


def test_a_process_that_is_killed_as_it_makes_the_database_leaves_none(place):
    (place.folder / "mlflow.db").unlink()
    unfinished = place.folder / "mlflow.db.unfinished"
    tracker = place.tracker()
    until(lambda: unfinished.exists() and unfinished.stat().st_size)
    tracker._delivery._process.kill()
    tracker.end()
    assert not (place.folder / "mlflow.db").exists()
    assert place.server.experiment("unlearnable")
    assert not unfinished.exists()


@pytest.mark.parametrize("locked_s", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_locked_database_costs_nothing(place, locked_s):
    place.tracker().end()
    blocker = sqlite3.connect(place.folder / "mlflow.db", isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN EXCLUSIVE")
    tracker = place.tracker()
    train(tracker)
    begun = time.monotonic()
    time.sleep(locked_s)
    blocker.execute("ROLLBACK")
    blocker.close()
    tracker.end()
    assert time.monotonic() - begun >= locked_s
    assert len(place.metrics("clean", place.records[1])) == METRICS


def write(folder: Path, metrics: int) -> None:
    """Be a run that records so many metrics."""
    tracker = Place(folder, wait_s=120).tracker()
    tracker.start_child("clean", "train-clean")
    for step in range(metrics):
        tracker.log_step("clean", step, {"loss": step + 0.5})
    tracker.end()


@pytest.mark.parametrize(("processes", "metrics"), [(2, 100), pytest.param(16, 1_000, marks=pytest.mark.slow)])
def test_processes_that_write_into_one_new_database_lose_nothing(place, processes, metrics):
    (place.folder / "mlflow.db").unlink()
    writers = [fork(write, place.folder, metrics) for _ in range(processes)]
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(place.records) == processes
    for record in place.records:
        assert len(place.metrics("clean", record)) == metrics


def test_a_project_may_lie_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "per%20cent [a]?b" / "project"
    folder.mkdir(parents=True)
    place = Place(folder)
    tracker = place.tracker()
    train(tracker)
    tracker.end()
    assert (folder / "mlflow.db").is_file()
    assert place.metrics("clean") == all_metrics()
    assert [path.name for path in tmp_path.iterdir()] == ["per%20cent [a]?b"]


def test_a_folder_where_the_database_is_to_be_is_named(place):
    (place.folder / "folder.db").mkdir()
    place.values["tracking_uri"] = "sqlite:///folder.db"
    with pytest.raises(InputError, match=r"^mlflow.yml: 'tracking_uri': expected a file for the database, got the folder .*/folder.db$"):
        place.tracker()


def test_what_is_wrong_with_a_database_is_not_mended_by_sending_again(place, caplog):
    """Such as tables of another version of MLflow."""
    with sqlite3.connect(place.folder / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'of tomorrow'")
    place.values["wait_s"] = 0
    tracker = place.tracker()
    train(tracker)
    until(lambda: place.hear() or caplog.messages)
    tracker.end()
    assert "of tomorrow" in caplog.messages[0]
    assert caplog.messages[-1].endswith(": once that is fixed, 'kedro tracking replay' sends them")


def test_mlflows_own_variable_is_not_used_and_that_is_said(place, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@elsewhere")
    tracker = place.tracker()
    tracker.end()
    assert caplog.messages[0].startswith(
        "MLFLOW_TRACKING_URI=http://elsewhere is not used: mlflow.yml says where runs go ('tracking_uri': "
    )
    caplog.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.settings.tracking_uri)
    place.tracker().end()
    assert not caplog.messages
