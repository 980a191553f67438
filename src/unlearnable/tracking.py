"""MLflow runs of a cell. Kedro knows nothing of this module but through the hooks."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

SQLITE = "sqlite:///"
LONGEST_TAG = 500
OPENS_AS_TRAINING = {"mlflow.experimentKind": "custom_model_development"}  # else the page opens in its view for language models


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return flat


class Tracker:
    """One MLflow run, with a child for the crafting and for each training.

    Args:
        settings: ``tracking_uri`` (a relative sqlite file lies in the project), ``experiment``, ``system_metrics``.
        project: the project's folder.
    """

    def __init__(self, settings: dict[str, Any], project: Path) -> None:
        self._settings = settings
        self._project = project
        self._children: dict[str, str] = {}
        self._params: dict[str, Any] = {}

    def start(self, parameters: dict[str, Any], run_params: dict[str, Any]) -> None:
        """Create the database and the experiment where they are missing, and start the run."""
        logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(self._tracking_uri())
        with FileLock(self._project / ".mlflow.lock"):  # two first runs at once would both create the tables
            experiment = self._experiment()
        self._params = flatten({name: value for name, value in parameters.items() if name != "recipe"})
        cell = "-".join(str(parameters.get(name)) for name in ("dataset", "poison", "recovery", "model"))
        tags = {f"recipe.{stage}": value for stage, value in parameters["recipe"].items()}
        tags |= {"pipeline": ",".join(run_params["pipeline_names"] or ["__default__"]), "env": str(run_params["env"])}
        name = f"{cell}-seed{parameters.get('seed')}"
        run = mlflow.start_run(experiment_id=experiment, run_name=name, tags=tags, log_system_metrics=self._settings["system_metrics"])
        self._client, self._run_id, self._experiment_id = mlflow.MlflowClient(), run.info.run_id, experiment
        self._log_params(self._run_id, self._params)

    def start_child(self, label: str, name: str, **params: str) -> None:
        """Start a child run, known as ``label`` until it ends."""
        run_id = self._client.create_run(self._experiment_id, tags={MLFLOW_PARENT_RUN_ID: self._run_id, MLFLOW_RUN_NAME: name}).info.run_id
        self._children[label] = run_id
        self._log_params(run_id, self._params | params)

    def log_step(self, label: str, step: int, measured: dict[str, float]) -> None:
        """Log what was measured in an epoch or a round of a child run."""
        now = int(time.time() * 1000)
        self._client.log_batch(self._children[label], metrics=[Metric(name, value, now, step) for name, value in measured.items()])

    def end_child(self, label: str) -> None:
        """End a child run as FINISHED."""
        self._client.set_terminated(self._children.pop(label), "FINISHED")

    def log_scores(self, scores: dict[str, Any], figures: list[Path]) -> None:
        """Log accuracies as metrics, scores and figures as artifacts."""
        mlflow.log_metrics(flatten({"accuracy": scores["accuracy"], "seconds": scores["seconds"]}))
        mlflow.log_dict(scores, "scores.json")
        for figure in figures:
            mlflow.log_artifact(str(figure))

    @contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """End the run as FAILED where the block raises."""
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise

    def end(self, error: BaseException | None = None) -> None:
        """End the run and whatever child is open: FINISHED, or FAILED with the error as a tag."""
        if error is not None:
            message = " ".join(str(error).split())[:LONGEST_TAG]
            self._client.log_batch(self._run_id, tags=[RunTag("error", message)])
        for run_id in self._children.values():
            self._client.set_terminated(run_id, "FAILED")
        self._children.clear()
        mlflow.end_run("FINISHED" if error is None else "FAILED")

    def _log_params(self, run_id: str, params: dict[str, Any]) -> None:
        self._client.log_batch(run_id, params=[Param(name, str(value)) for name, value in params.items()])

    def _tracking_uri(self) -> str:
        uri = str(self._settings["tracking_uri"])
        file = uri.removeprefix(SQLITE)
        return f"{SQLITE}{self._project / file}" if uri.startswith(SQLITE) and not file.startswith("/") else uri

    def _experiment(self) -> str:
        name = self._settings["experiment"]
        found = mlflow.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        local = self._tracking_uri().startswith(SQLITE)
        artifacts = (self._project / "mlartifacts").as_uri() if local else None
        return str(mlflow.create_experiment(name, artifacts, tags=OPENS_AS_TRAINING))
