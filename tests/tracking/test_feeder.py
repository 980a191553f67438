"""Feeding: whatever fails at whichever call, in the end MLflow has each run once and each metric once."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import empty_database
from tests.tracking.conftest import Place
from unlearnable.tracking.delivery import send
from unlearnable.tracking.feeder import Feeder, unsent
from unlearnable.tracking.record import CELL
from unlearnable.tracking.server import Server

CALLS = (
    "get_experiment_by_name",
    "create_experiment",
    "search_runs",
    "create_run",
    "log_batch",
    "log_dict",
    "log_artifact",
    "log_inputs",
    "search_logged_models",
    "create_logged_model",
    "log_model_artifacts",
    "log_model_artifact",
    "finalize_logged_model",
    "log_outputs",
    "set_terminated",
)
EXPECTED = [("loss", 1, 0.5), ("loss", 2, 0.25), ("test_accuracy", 1, 0.75), ("test_accuracy", 2, 1.0)]


class LostError(ConnectionError):
    """What a client sees where no answer comes."""


def flaky(server: Server, fail_at: int, *, happens: bool) -> Server:
    """Return the server with a client whose call number ``fail_at`` fails: after it happened, or instead."""
    calls = 0

    class Flaky(MlflowClient):
        pass

    def wrapped(method):
        def call(self, *args, **kwargs):
            nonlocal calls
            calls += 1
            fails = calls == fail_at
            if fails and not happens:
                raise LostError
            answer = method(self, *args, **kwargs)
            if fails:
                raise LostError
            return answer

        return call

    for name in CALLS:
        setattr(Flaky, name, wrapped(getattr(MlflowClient, name)))
    server.__dict__["client"] = Flaky(server.client.tracking_uri)
    return server


def cell_with_a_training(place: Place):
    """A finished record: a cell with a training, metrics, both kinds of artifacts."""
    record = place.record(time=1_000)
    given = {"name": "digits", "digest": "0123", "source": "{}"}
    record.append("start", "clean", name="train-clean", params={"seed": "0"}, dataset=given, time=2_000)
    for step, values in enumerate(({"loss": 0.5, "test_accuracy": 0.75}, {"loss": 0.25, "test_accuracy": 1.0}), start=1):
        record.append("metrics", "clean", step=step, values=values, time=2_000 + step)
        record.append("tags", values={"last": str(step)})  # so that they do not go in one batch
    record.append("artifact", name="scores.json", content={"seed": 0})
    (place.folder / "figure.png").write_bytes(b"a figure")
    record.append("artifact", path="figure.png")
    (place.folder / "epoch-0002.last.safetensors").write_bytes(b"weights")
    weights = {"path": "epoch-0002.last.safetensors", "step": 2, "about": {"model": "tiny_cnn"}, "tags": {"mlflow.note.content": "how"}}
    record.append("model", "clean", name="clean-tiny_cnn", **weights)
    record.append("end", "clean", status="FINISHED", time=3_000)
    record.end("FAILED", "it broke", at_ms=4_000)
    return record.path


def assert_complete(place: Place, record: Path | None = None) -> None:
    runs = place.runs(record)
    assert place.statuses(record) == {CELL: "FAILED", "clean": "FINISHED"}
    assert place.metrics("clean", record) == EXPECTED
    assert (runs[CELL].info.start_time, runs[CELL].info.end_time) == (1_000, 4_000)
    assert (runs["clean"].info.start_time, runs["clean"].info.end_time) == (2_000, 3_000)
    assert runs["clean"].data.tags["mlflow.parentRunId"] == runs[CELL].info.run_id
    assert runs[CELL].data.tags["error"] == "it broke"
    assert runs["clean"].data.params == {"seed": "0"}
    assert [metric.timestamp for metric in place.client().get_metric_history(runs["clean"].info.run_id, "loss")] == [2_001, 2_002]
    assert {file.path for file in place.client().list_artifacts(runs[CELL].info.run_id)} == {"scores.json", "figure.png"}
    assert [(given.dataset.name, given.dataset.digest) for given in runs["clean"].inputs.dataset_inputs] == [("digits", "0123")]
    assert_one_model(place, runs["clean"])


def assert_one_model(place: Place, run: Run) -> None:
    found = place.client().search_logged_models([run.info.experiment_id])
    [model] = [model for model in found if model.source_run_id == run.info.run_id]
    assert [(made.model_id, made.step) for made in run.outputs.model_outputs] == [(model.model_id, 2)]
    assert (model.name, str(model.status), model.params) == ("clean-tiny_cnn", "READY", {"model": "tiny_cnn"})
    assert model.tags["mlflow.note.content"] == "how"
    folder = Path(model.artifact_location.removeprefix("file://"))
    assert {path.name for path in folder.iterdir()} == {"MLmodel", "epoch-0002.last.safetensors"}


@pytest.mark.parametrize("happens", [False, True], ids=["nothing happened", "the answer was lost"])
def test_a_failure_at_any_call_costs_nothing(tmp_path, happens):
    (tmp_path / "mlflow.db").write_bytes(empty_database())
    failures = 0
    for fail_at in range(1, 100):
        place = Place(tmp_path, experiment=f"failure at call {fail_at}")
        path = cell_with_a_training(place)
        server = flaky(place.server, fail_at, happens=happens)
        try:
            with Feeder(path, server) as feeder:
                feeder.feed()
        except LostError:
            failures += 1
            assert unsent(path) > 0
            with Feeder(path, server) as feeder:
                feeder.feed()
        else:
            break
        finally:
            assert unsent(path) == 0
            assert_complete(place, path)
    assert failures >= 24


def test_a_lost_note_of_what_was_sent_costs_nothing(place):
    path = cell_with_a_training(place)
    assert place.replay() == 1
    path.with_suffix(".sent").unlink()
    assert place.replay() == 1
    assert_complete(place)
    assert place.replay() == 0


def test_a_note_torn_by_a_kill_costs_nothing(place):
    path = cell_with_a_training(place)
    place.replay()
    notes = path.with_suffix(".sent").read_bytes()
    for cut in range(0, len(notes), 97):
        path.with_suffix(".sent").write_bytes(notes[:cut])
        place.replay()
        assert unsent(path) == 0
    assert_complete(place)


def test_a_database_that_was_deleted_gets_everything_again(place):
    (place.folder / "another.db").write_bytes(empty_database())
    path = cell_with_a_training(place)
    place.replay()
    notes = path.with_suffix(".sent").read_text().splitlines(keepends=True)
    path.with_suffix(".sent").write_text("".join(notes[:4]))
    place.values["tracking_uri"] = "sqlite:///another.db"
    assert place.replay() == 1
    assert_complete(place)


def test_a_server_asks_for_its_experiments_again_once_it_has_forgotten_them(place, monkeypatch):
    server, find, asked = place.server, MlflowClient.get_experiment_by_name, []
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda self, name: asked.append(name) or find(self, name))
    for _ in range(2):
        assert server.experiment("a") == server.experiment("a")
        server.forget()
    assert asked == ["a", "a"]


def test_nobody_sends_what_another_is_sending(place):
    path = cell_with_a_training(place)
    with Feeder(path, place.server):
        with pytest.raises(BlockingIOError):
            Feeder(path, place.server)
        assert not send(path, place.server)
    assert send(path, place.server)


def test_a_feeder_that_cannot_start_leaves_nothing_open(place, monkeypatch):
    path = cell_with_a_training(place)

    def full(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("unlearnable.tracking.feeder._sent", full)
    with pytest.raises(OSError, match="Too many open files") as error:
        Feeder(path, place.server)
    [feeder] = [entry.locals["self"] for entry in error.traceback if isinstance(entry.locals.get("self"), Feeder)]
    assert feeder._file.closed
    monkeypatch.undo()
    assert send(path, place.server)


def test_what_mlflow_refuses_is_left_out_with_a_warning(place, caplog):
    record = place.record()
    record.append("metrics", step=1, values={"loss": 0.5})
    record.append("metrics", step=1, values={"what?": 0.5})
    record.append("metrics", step=2, values={"loss": 0.25})
    record.append("metrics", step=2, values={"how?": 0.5})
    record.end("FINISHED")
    assert place.replay() == 1
    assert place.metrics(CELL) == [("loss", 1, 0.5), ("loss", 2, 0.25)]
    assert [line.getMessage().split(":")[0] for line in caplog.records if line.name == "unlearnable.tracking.feeder"] == [
        f"MLflow refuses 'metrics' of {record.path.name}"
    ]


def test_metrics_go_in_batches(place, monkeypatch):
    sizes = []
    log_batch = MlflowClient.log_batch

    def counted(self, run_id, metrics=(), **rest):
        sizes.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, **rest)

    record = place.record()
    for step in range(700):
        record.append("metrics", step=step, values={"loss": 0.5, "gain": 1.0, "rate": 0.1})
    record.end("FINISHED")
    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    place.replay()
    assert [size for size in sizes if size] == [999, 999, 102]
    assert len(place.metrics(CELL)) == 2_100


def test_a_file_that_is_gone_keeps_nobody_waiting(place):
    record = place.record()
    record.append("artifact", path="no/such.png")
    record.append("model", name="clean-tiny_cnn", path="no/such.safetensors", step=2, about={}, tags={})
    record.end("FINISHED")
    assert place.replay() == 1
    assert place.statuses() == {CELL: "FINISHED"}
