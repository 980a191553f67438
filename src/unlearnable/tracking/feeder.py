"""From a record to MLflow: everything is sent, in order, and nothing twice.

Next to each record is a file ``.sent``. Each of its lines says how many bytes of the record MLflow has, and which MLflow run belongs to
which label; the last complete line counts. The sender holds a lock on this file. If an answer or the file is lost, the same events are
sent again, and MLflow keeps them once: runs are looked up by a tag, and MLflow drops metrics and parameters that it already has.
"""

import fcntl
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from unlearnable.tracking.record import CELL, Event, read
from unlearnable.tracking.server import Server, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)
RECORD_TAG = "unlearnable.record"
FLAVOUR = "unlearnable"  # of logged models: weights as safetensors, and what is needed to build their network
MOST_METRICS = 1000  # that MLflow takes in one request


class Feeder:
    """Sends one record to a server.

    Raises:
        BlockingIOError: another process, or thread, is sending this record.
    """

    def __init__(self, record: Path, server: Server) -> None:
        self._record = record
        self._server = server
        self._has_refused = False
        self._file = _sent_file(record).open("ab", buffering=0)
        self._bytes: int
        self._runs: dict[str, str]
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (self._bytes, self._runs), whole = _sent(record)
            self._file.truncate(whole)  # otherwise the next note would follow half a line
            self._experiment = next((event.get("experiment") for event, _ in read(record)), None)
        except OSError:  # another process is sending, or no more files can be opened
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def feed(self) -> None:
        """Send everything that the record has so far; after a failure, the next call resumes.

        Raises:
            Exception: anything that mlflow raises when the server does not answer.
        """
        try:
            self._feed()
        except Exception as error:
            if not self._server.is_unknown_run(error):
                raise
            self._note(0, {})  # the database has been replaced
            self._server.forget()
            self._feed()

    def _feed(self) -> None:
        for batch, after in _batches(read(self._record, self._bytes)):
            if batch[0]["event"] == "start":
                self._start(batch[0])
            self._log(batch)
            self._note(after, self._runs)

    def _start(self, event: Event) -> None:
        label = event["label"]
        run_id = self._runs.get(label) or self._find(label) or self._create(event)
        self._note(self._bytes, self._runs | {label: run_id})

    def _log(self, batch: list[Event]) -> None:
        """Send events of a run. An event that MLflow refuses for good is left out with a warning, so that later ones are not held up."""
        client, event = self._server.client, batch[0]
        try:
            self._send(client, batch)
        except Exception as error:
            if not self._server.is_refusal(error):
                raise
            if len(batch) > 1:
                for each in batch:
                    self._log([each])
            else:  # MLflow refuses every event of a deleted run: one warning is enough
                level = logging.DEBUG if self._has_refused else logging.WARNING
                logger.log(level, "MLflow refuses '%s' of %s: %s", event["event"], self._record.name, reason(error))
                self._has_refused = True

    def _send(self, client: "MlflowClient", batch: list[Event]) -> None:
        event = batch[0]
        kind, run_id = event["event"], self._runs.get(event.get("label", CELL))
        if run_id is None:
            logger.warning("%s: left out '%s', which has no start", self._record.name, kind)
        elif kind == "start":
            self._send_start(client, run_id, event)
        elif kind == "metrics":
            client.log_batch(run_id, metrics=_metrics(batch))
        elif kind == "tags":
            client.log_batch(run_id, tags=_tags(event["values"]))
        elif kind == "artifact":
            self._send_artifact(client, run_id, event)
        elif kind == "model":
            self._send_model(client, run_id, event)
        elif kind == "end":
            client.log_batch(run_id, tags=_tags({"error": event["error"]} if "error" in event else {}))
            client.set_terminated(run_id, event["status"], end_time=event["time"])

    def _send_start(self, client: "MlflowClient", run_id: str, event: Event) -> None:
        client.log_batch(run_id, params=_params(event))
        if "dataset" in event:
            client.log_inputs(run_id, [_dataset(event["dataset"])])

    def _find(self, label: str) -> str | None:
        """Return the run that an earlier attempt created, if MLflow's answer was lost."""
        experiments = [self._server.experiment(str(self._experiment))]
        found = self._server.client.search_runs(experiments, f"tags.`{RECORD_TAG}` = '{self._tag(label)}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create(self, event: Event) -> str:
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        parent = {} if event["label"] == CELL else {MLFLOW_PARENT_RUN_ID: self._runs[CELL]}
        tags = event.get("tags", {}) | parent | {RECORD_TAG: self._tag(event["label"])}
        experiment = self._server.experiment(str(self._experiment))
        created = self._server.client.create_run(experiment, start_time=event["time"], tags=tags, run_name=event["name"])
        return str(created.info.run_id)

    def _tag(self, label: str) -> str:
        return f"{self._record.stem}/{label}"

    def _send_artifact(self, client: "MlflowClient", run_id: str, event: Event) -> None:
        if "content" in event:
            client.log_dict(run_id, event["content"], event["name"])
        elif (path := self._server.project / event["path"]).exists():
            client.log_artifact(run_id, str(path))
        else:
            logger.warning("%s: left out %s, which is gone", self._record.name, path)

    def _send_model(self, client: "MlflowClient", run_id: str, event: Event) -> None:
        """Send weights as a logged model."""
        from mlflow.entities import LoggedModelOutput

        path = self._server.project / event["path"]
        if not path.exists():
            logger.warning("%s: left out %s, which is gone", self._record.name, path)
            return
        model = self._model(client, run_id, event)
        with tempfile.TemporaryDirectory() as folder:
            _describe(model, event, Path(folder))
            client.log_model_artifacts(model.model_id, folder)
        client.log_model_artifact(model.model_id, str(path))
        client.finalize_logged_model(model.model_id, "READY")
        known = client.get_run(run_id).outputs
        if model.model_id not in {output.model_id for output in (known.model_outputs if known else ())}:  # MLflow refuses to link it twice
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, event["step"])])

    def _model(self, client: "MlflowClient", run_id: str, event: Event) -> Any:
        """Return the model that an earlier attempt created, if MLflow's answer was lost, or a new one."""
        experiment, tag = self._server.experiment(str(self._experiment)), self._tag(f"{event['label']}/model")
        if found := client.search_logged_models([experiment], f"tags.`{RECORD_TAG}` = '{tag}'", max_results=1):
            return found[0]
        tags, about = event["tags"] | {RECORD_TAG: tag}, {name: str(value) for name, value in event["about"].items()}
        return client.create_logged_model(experiment, event["name"], source_run_id=run_id, tags=tags, params=about)

    def _note(self, sent: int, runs: dict[str, str]) -> None:
        self._bytes, self._runs = sent, runs
        self._file.write(json.dumps({"bytes": sent, "runs": runs}).encode() + b"\n")


def unsent(record: Path) -> int:
    """Return how many events of a record MLflow does not have."""
    (sent, _), _ = _sent(record)
    return 0 if sent == record.stat().st_size else sum(1 for _ in read(record, sent))


def _sent(record: Path) -> tuple[tuple[int, dict[str, str]], int]:
    """Return how many bytes MLflow has and in which runs, and the length of the complete lines of the file ``.sent``."""
    note: Event = {"bytes": 0, "runs": {}}
    whole = 0
    if _sent_file(record).exists():
        for line, after in read(_sent_file(record)):
            note, whole = (line if "bytes" in line else note), after
    return (note["bytes"], note["runs"]), whole


def _sent_file(record: Path) -> Path:
    return record.with_suffix(".sent")


def _batches(events: Iterable[tuple[Event, int]]) -> Iterator[tuple[list[Event], int]]:
    """Yield the events of each request (one event, or metrics of one run), and the offset after them."""
    batch: list[Event] = []
    place = 0
    for event, after in events:
        if batch and not _may_join(event, batch):
            yield batch, place
            batch = []
        batch.append(event)
        place = after
    if batch:
        yield batch, place


def _may_join(event: Event, batch: list[Event]) -> bool:
    if not event["event"] == batch[0]["event"] == "metrics" or event["label"] != batch[0]["label"]:
        return False
    return sum(len(each["values"]) for each in [*batch, event]) <= MOST_METRICS


def _params(start: Event) -> list[Any]:
    from mlflow.entities import Param

    return [Param(name, value) for name, value in start["params"].items()]


def _dataset(said: dict[str, str]) -> Any:
    from mlflow.entities import Dataset, DatasetInput

    return DatasetInput(Dataset(said["name"], said["digest"], "catalog", said["source"]))


def _describe(model: Any, event: Event, folder: Path) -> None:
    """Write what MLflow needs in a model's folder. The flavour is our own and holds no code."""
    from mlflow.models import Model

    flavours = {FLAVOUR: event["about"] | {"weights": Path(event["path"]).name}}
    Model(event["name"], model.source_run_id, flavors=flavours, model_uuid=model.model_id, model_id=model.model_id).save(folder / "MLmodel")


def _metrics(batch: list[Event]) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(name, value, event["time"], event["step"]) for event in batch for name, value in event["values"].items()]


def _tags(values: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, value) for name, value in values.items()]
