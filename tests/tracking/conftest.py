"""A run that records 60 metrics, and what MLflow has of it."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import empty_database
from tests.forks import Beside
from unlearnable.config.recipe import CELL_NAMES
from unlearnable.tracking import Tracker, TrackingSettings, delivery
from unlearnable.tracking.delivery import send, to_send
from unlearnable.tracking.facts import start_of
from unlearnable.tracking.record import CELL, Record, records
from unlearnable.tracking.server import Server

EPOCHS = 20
MEASURED = ("loss", "test_accuracy", "learning_rate")
METRICS = EPOCHS * len(MEASURED)
LONGEST_S = 10.0  # that recording an epoch may take on a busy machine; a server that is waited for takes longer
PARAMETERS = {"dataset": "digits", "poison": "lsp", "recovery": "none", "model": "small_cnn", "seed": 0, "train": {"epochs": EPOCHS}}
RUN_PARAMS = {"pipeline_names": ["orthoproj"], "env": "test", "runtime_params": {"train": {"epochs": EPOCHS}}}
TAKEN = [*(f"params:{name}" for name in CELL_NAMES), "params:train"]
RAW_IMAGES = {"type": "digits", "sha256": "abcd", "path": "/home/somebody"}


class Place:
    """A project folder, the settings of its tracking, and what a test asks of both."""

    def __init__(self, folder: Path, uri: str = "sqlite:///mlflow.db", experiment: str = "unlearnable", wait_s: float = 30.0) -> None:
        self.folder = folder
        self.values = {
            "tracking_uri": uri,
            "experiment": experiment,
            "system_metrics": False,
            "models": True,
            "records": "data/09_tracking",
            "wait_s": wait_s,
        }

    @property
    def settings(self) -> TrackingSettings:
        return TrackingSettings.of(self.values, self.folder)

    @property
    def server(self) -> Server:
        return Server(self.settings.tracking_uri, self.folder)

    @property
    def records(self) -> list[Path]:
        return records(Path(self.settings.records))

    def record(self, **fields) -> Record:
        start = {"experiment": self.values["experiment"], "name": "a cell", "params": {"seed": "0"}, "tags": {"env": "test"}}
        return Record.create(Path(self.settings.records), **start | fields)

    def tracker(self) -> Tracker:
        """A tracker that has started."""
        tracker = Tracker(self.values, self.folder)
        self.started = tracker
        tracker.start(**start_of(PARAMETERS, RUN_PARAMS, TAKEN, {"clean_train": "0123"}, RAW_IMAGES))
        return tracker

    def hear(self) -> None:
        """Have the run log what the process beside it has said, as it does whenever it records something."""
        self.started._delivery.hear()

    def replay(self) -> int:
        """Send what is missing; return of how many records. A process may still be at one of them."""
        missing = to_send(Path(self.settings.records))
        for record in missing:
            until(lambda record=record: send(record, self.server))
        return len(missing)

    def client(self) -> MlflowClient:
        return self.server.client

    def runs(self, record: Path | None = None) -> dict[str, Run]:
        """Return what MLflow has of a record (of the only one), by label; no run twice."""
        stem = (record or self.records[0]).stem
        experiment = self.client().get_experiment_by_name(self.values["experiment"])
        found = self.client().search_runs([experiment.experiment_id]) if experiment else []
        tags = [run.data.tags["unlearnable.record"].split("/") for run in found]
        labels = [label for of, label in tags if of == stem]
        assert len(set(labels)) == len(labels), "a run was created twice"
        return {label: run for (of, label), run in zip(tags, found, strict=True) if of == stem}

    def metrics(self, label: str, record: Path | None = None) -> list[tuple]:
        """Return every metric that MLflow has of a run: name, step, value."""
        if (run := self.runs(record).get(label)) is None:
            return []
        histories = [self.client().get_metric_history(run.info.run_id, name) for name in run.data.metrics]
        return sorted((row.key, row.step, row.value) for history in histories for row in history)

    def statuses(self, record: Path | None = None) -> dict[str, str]:
        return {label: run.info.status for label, run in self.runs(record).items()}


@pytest.fixture(autouse=True)
def _beside_by_a_fork(monkeypatch):
    """Have the process beside a run of this process be a fork; processes of tests start it as users' runs do."""
    monkeypatch.setattr(delivery, "start", Beside)


@pytest.fixture
def place(tmp_path) -> Place:
    (tmp_path / "mlflow.db").write_bytes(empty_database())
    return Place(tmp_path)


def measured(epoch: int) -> dict[str, float]:
    return {name: (epoch + place) / 7 for place, name in enumerate(MEASURED)}


def all_metrics() -> list[tuple]:
    return sorted((name, epoch, value) for epoch in range(1, EPOCHS + 1) for name, value in measured(epoch).items())


def train(tracker: Tracker, *, pause_s: float = 0.0, at_epoch=lambda epoch: None) -> None:
    """Record a training of 20 epochs and 3 metrics; fail where recording an epoch takes long."""
    tracker.start_child("clean", "train-clean", training="clean")
    for epoch in range(1, EPOCHS + 1):
        at_epoch(epoch)
        before = time.monotonic()
        tracker.log_step("clean", epoch, measured(epoch))
        assert time.monotonic() - before < LONGEST_S, f"epoch {epoch} waited"
        time.sleep(pause_s)
    tracker.end_child("clean")


def until(condition, timeout_s: float = 60.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


__all__ = ["CELL", "METRICS", "Place", "all_metrics", "measured", "train", "until"]
