"""The tracking server that ``mlflow.yml`` names. mlflow is imported when first used, which takes seconds."""

import logging
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from unlearnable.tracking.settings import SQLITE, TrackingSettings, database

if TYPE_CHECKING:
    from mlflow import MlflowClient

OPENS_AS_TRAINING = {"mlflow.experimentKind": "custom_model_development"}  # otherwise the page opens in the view for language models
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the feeder tries again itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "120",  # seconds; a busy server may take its time
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
CHATTER = ("mlflow", "alembic", "sqlalchemy", "urllib3")
LONGEST_REASON = 200


class Server:
    """An MLflow server or database. If it does not answer, the exceptions of mlflow are passed on."""

    def __init__(self, uri: str, project: Path) -> None:
        self.project = project
        self._uri = uri
        self._experiments: dict[str, str] = {}

    @classmethod
    def of(cls, settings: TrackingSettings, project: Path) -> "Server | None":
        """Return the server that ``mlflow.yml`` names, or None."""
        return cls(settings.tracking_uri, project) if settings.tracking_uri else None

    def __str__(self) -> str:
        return without_password(self._uri)

    @property
    def replay(self) -> str:
        """How to send what is left, in words. A server may recover by itself, but somebody has to fix a broken file."""
        return f"{'once that is fixed, ' if self._uri.startswith(SQLITE) else ''}'kedro tracking replay' sends"

    @cached_property
    def client(self) -> "MlflowClient":
        """The client of MLflow; a missing database is created."""
        load_mlflow()
        from mlflow import MlflowClient

        with self._one_creator():
            if self._uri.startswith(SQLITE):
                _create_database(self._uri)
            return MlflowClient(_for_mlflow(self._uri))

    def experiment(self, name: str) -> str:
        """Return the id of an experiment; a missing one is created."""
        if name not in self._experiments:
            client = self.client
            with self._one_creator():
                found = client.get_experiment_by_name(name)
                self._experiments[name] = str(found.experiment_id if found else self._create(name))
        return self._experiments[name]

    def forget(self) -> None:
        """Forget the ids of experiments: the database may have been replaced."""
        self._experiments.clear()

    def is_refusal(self, error: Exception) -> bool:
        """Return whether MLflow refused this for good: a value that it does not allow, or a deleted run."""
        return self._answered(error, "INVALID_PARAMETER_VALUE")

    def is_unknown_run(self, error: Exception) -> bool:
        """Return whether MLflow answered that it knows no such run."""
        return self._answered(error, "RESOURCE_DOES_NOT_EXIST")

    def _answered(self, error: Exception, code: str) -> bool:
        from mlflow.exceptions import MlflowException, RestException

        kind = RestException if self._uri.startswith("http") else MlflowException  # another server's 404 is no answer of MLflow
        return isinstance(error, kind) and error.error_code == code

    def _create(self, name: str) -> str:
        artifacts = (self.project / "mlartifacts").as_uri() if self._uri.startswith(SQLITE) else None
        return self.client.create_experiment(name, artifacts, tags=OPENS_AS_TRAINING)

    def _one_creator(self) -> FileLock:
        return FileLock(self.project / ".mlflow.lock")  # two first runs at once would both create the tables


def without_password(uri: str) -> str:
    """Return an address without its password."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _for_mlflow(uri: str) -> str:
    """Return an address for MLflow. With plain ``sqlite:`` it would create the parent folder under its quoted name."""
    return uri.replace(SQLITE, "sqlite+pysqlite:///", 1) if uri.startswith(SQLITE) else uri


def _create_database(uri: str) -> None:
    """Create the database under another name, then rename it: MLflow never accepts one that a killed run left incomplete."""
    from mlflow import MlflowClient
    from sqlalchemy import make_url

    path = database(uri)
    if path.exists():
        return
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    MlflowClient(_for_mlflow(make_url(uri).set(database=str(unfinished)).render_as_string(hide_password=False)))
    unfinished.rename(path)


def load_mlflow() -> None:
    """Import mlflow, and keep what it logs off the terminal."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def reason(error: BaseException) -> str:
    """Return the first cause of an error in one line: mlflow wraps a refused connection five times."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return (" ".join(str(error).split()) or type(error).__name__)[:LONGEST_REASON]
