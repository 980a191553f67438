"""What the hooks tell of a run."""

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unlearnable.config.recipe import FORMAT
from unlearnable.tracking.delivery import Delivery, tidy
from unlearnable.tracking.record import Record, read, records
from unlearnable.tracking.server import Server, load_mlflow, without_password
from unlearnable.tracking.settings import TrackingSettings
from unlearnable.tracking.system import SystemMetrics

logger = logging.getLogger(__name__)
UNUSED = "MLFLOW_TRACKING_URI"  # the variable that MLflow reads where nothing else is said
LONGEST_TAG = 500
LAST_UNSAID = 4  # the last format of recipes that records do not name
MEASURED = ("accuracy", "dfr", "separability", "seconds")  # the parts of scores that hold measurements


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return flat


class Tracker:
    """One run, with a child for the crafting, for each training and for the probing.

    Everything is appended to a record on the disk, and a thread sends it to MLflow, where ``mlflow.yml`` names a server.

    Args:
        settings: ``mlflow.yml``.
        project: the project's folder.

    Raises:
        InputError: a setting is wrong.
    """

    def __init__(self, settings: dict[str, Any], project: Path) -> None:
        self._settings = TrackingSettings.of(settings, project)
        self._project = project
        self._params: dict[str, Any] = {}
        self._steps: dict[str, int] = {}
        self._made_on: dict[str, dict[str, str]] = {}
        self._ended = False

    def start(self, parameters: dict[str, Any], run_params: dict[str, Any], recipes: dict[str, str]) -> None:
        """Start the record and all that goes on beside the run; close what killed runs left.

        Args:
            parameters: of the run.
            run_params: what Kedro was asked for.
            recipes: the hash of the recipe of each artifact that the run may make.

        Raises:
            OSError: the record cannot be written.
        """
        self._params = {name: str(value) for name, value in flatten(parameters).items()}
        cell = "-".join(str(parameters.get(name)) for name in ("dataset", "poison", "recovery", "model"))
        tags = {f"recipe.{name}": value for name, value in recipes.items()}
        tags |= {
            "pipeline": ",".join(run_params["pipeline_names"] or ["__default__"]),
            "env": str(run_params["env"]),
            "format": str(FORMAT),
        }
        _say_that_results_are_old(Path(self._settings.records))
        start = {"experiment": self._settings.experiment, "name": f"{cell}-seed{parameters.get('seed')}", "tags": tags}
        self._record = Record.create(Path(self._settings.records), **start, params=self._params)
        atexit.register(self.end, KeyboardInterrupt())  # Kedro tells no hook of an interrupt
        server = Server.of(self._settings, self._project)
        self._tell_unused(os.environ.get(UNUSED))
        self._delivery = Delivery(self._record.path, server, prepare=self._record_origin) if server else None
        self._system = SystemMetrics(self._record) if self._settings.system_metrics else None
        tidy(self._record.path.parent, server)

    def _tell_unused(self, uri: str | None) -> None:
        """Log that MLflow's own variable decides nothing, where it names another place than ``mlflow.yml``."""
        if uri and uri != self._settings.tracking_uri:
            used = without_password(self._settings.tracking_uri or "none")
            logger.warning("%s=%s is not used: mlflow.yml says where runs go ('tracking_uri': %s)", UNUSED, without_password(uri), used)

    def start_child(self, label: str, name: str, **params: str) -> None:
        """Start a child, known as ``label`` until it ends."""
        self._append("start", label, name=name, params=self._params | params)

    def log_step(self, label: str, step: int, measured: dict[str, float]) -> None:
        """Record what was measured in an epoch or a round of a child."""
        self._append("metrics", label, step=step, values={name: float(value) for name, value in measured.items()})

    def log_history(self, label: str, history: list[dict[str, float]]) -> None:
        """Record each epoch of a training that is not recorded yet: one that was resumed brings along those before it."""
        for step, measured in enumerate(history, start=1):
            if step > self._steps.get(label, 0):
                self.log_step(label, step, measured)
                self._steps[label] = step

    def log_made_on(self, label: str, made_on: dict[str, str]) -> None:
        """Record what a training is made on, as tags of its child, once."""
        if made_on != self._made_on.get(label, {}):
            self._append("tags", label, values={f"made_on.{name}": value for name, value in made_on.items()})
            self._made_on[label] = made_on

    def end_child(self, label: str) -> None:
        """End a child as FINISHED."""
        self._append("end", label, status="FINISHED")

    def log_scores(self, name: str, scores: dict[str, Any], files: list[Path]) -> None:
        """Record the numbers of scores as metrics, the scores and the files beside them as artifacts."""
        measured = flatten({part: scores[part] for part in MEASURED if part in scores})
        numbers = {key: value for key, value in measured.items() if isinstance(value, int | float)}
        self._append("metrics", step=0, values=numbers)
        self._append("artifact", name=f"{name}.json", content=scores)
        for file in files:
            self._append("artifact", path=str(file.relative_to(self._project) if file.is_relative_to(self._project) else file))

    @contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """End the run where the block raises."""
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise

    def end(self, error: BaseException | None = None) -> None:
        """End the run and whatever child is open: FINISHED, KILLED by an interrupt, or FAILED with the error as a tag.

        Wait a while for MLflow to have it. Neither that nor a full disk raises, which would hide the first error.
        """
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self.end)
        if self._system:
            self._system.stop()
        try:
            self._record.end(*_outcome(error))
        except OSError as full:
            logger.warning("the end of the run is not recorded: %s", full)
        if self._delivery:
            self._delivery.finish(self._settings.wait_s)

    def _append(self, event: str, *label: str, **fields: Any) -> None:
        self._record.append(event, *label, **fields)
        if self._delivery:
            self._delivery.wake()

    def _record_origin(self) -> None:
        """Record who runs what, as MLflow finds it out: user, command, commit. A replay would find itself."""
        load_mlflow()
        from mlflow.tracking.context.registry import resolve_tags

        self._record.append("tags", values=resolve_tags())


def _say_that_results_are_old(folder: Path) -> None:
    """Log a line where the newest run before this one was of an earlier format: what it made is not found by its recipe any more."""
    newest = next((read(path) for path in reversed(records(folder))), iter(()))
    tags = next((event.get("tags", {}) for event, _ in newest), {"format": FORMAT})
    before = int(tags.get("format", LAST_UNSAID))
    if before < FORMAT:
        logger.warning(
            "results of format %d, of an earlier version, lie in data: they are not used, and are made anew (now: %d)", before, FORMAT
        )


def _outcome(error: BaseException | None) -> tuple[str, str | None]:
    if error is None:
        return "FINISHED", None
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", " ".join(str(error).split())[:LONGEST_TAG]
