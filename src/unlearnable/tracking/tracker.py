"""What the hooks tell of a run."""

import atexit
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unlearnable.config.recipe import FORMAT
from unlearnable.tracking.delivery import FED_BY_STUDY, Delivery, close_killed, delivered
from unlearnable.tracking.facts import NOTE, code, flatten
from unlearnable.tracking.record import Record, read, records
from unlearnable.tracking.server import Server, without_password
from unlearnable.tracking.settings import TrackingSettings
from unlearnable.tracking.system import SystemMetrics

logger = logging.getLogger(__name__)
UNUSED = "MLFLOW_TRACKING_URI"  # the variable that MLflow reads where nothing else is said
LONGEST_TAG = 500
LAST_UNSAID = 4  # the last format of recipes that records do not name
MEASURED = ("accuracy", "projection", "dfr", "separability", "audit", "seconds")  # the parts of scores that hold measurements
MAIN = {"audit": ("originals", "ways", "perceptibility")}  # of a part, where not all of it is
HOW_TO_LOAD = (
    "Weights as safetensors, without code. `unlearnable.models.build(model, shape=shape, num_classes=num_classes, seed=0)` makes the "
    "network, and `load_state_dict(safetensors.torch.load_file(weights))` gives it the weights. It takes images in units of [0, 1], less "
    "`mean` and divided by `deviation`."
)
SETTINGS = ("threads",)  # what is noted in every epoch, and is no measurement: a chart of it would be a straight line


class Tracker:
    """One run, with a child for the crafting, for each training and for the probing.

    Everything is appended to a record on the disk, and a process beside the run sends it to MLflow, where ``mlflow.yml`` names a server.

    Args:
        settings: ``mlflow.yml``.
        project: the project's folder.

    Raises:
        InputError: a setting is wrong.
    """

    def __init__(self, settings: dict[str, Any], project: Path) -> None:
        self._settings = TrackingSettings.of(settings, project)
        self._project = project
        self._params: dict[str, str] = {}
        self._steps: dict[str, int] = {}
        self._made_on: dict[str, dict[str, str]] = {}
        self._delivery: Delivery | None = None
        self._ended = False

    def start(self, **facts: Any) -> None:
        """Start the record and the process beside the run; close the records of killed runs.

        Args:
            facts: what ``facts.start_of`` says.

        Raises:
            OSError: the record cannot be written.
        """
        folder = Path(self._settings.records)
        self._params = facts["params"]
        _say_that_results_are_old(folder)
        self._record = Record.create(folder, experiment=self._settings.experiment, **facts)
        atexit.register(self.end, KeyboardInterrupt())  # Kedro calls no hook after an interrupt
        self._tell_unused(os.environ.get(UNUSED))
        self._system = SystemMetrics(self._record) if self._settings.system_metrics else None
        if FED_BY_STUDY in os.environ:
            return
        if server := Server.of(self._settings, self._project):
            self._delivery = delivered(server, self._settings, self._record.path)
        else:
            close_killed(records(folder))  # which the process beside the run would do

    def _tell_unused(self, uri: str | None) -> None:
        """Log that MLflow's own variable decides nothing, where it names another place than ``mlflow.yml``."""
        if uri and uri != self._settings.tracking_uri:
            used = without_password(self._settings.tracking_uri or "none")
            logger.warning("%s=%s is not used: mlflow.yml says where runs go ('tracking_uri': %s)", UNUSED, without_password(uri), used)

    def start_child(self, label: str, name: str, dataset: Mapping[str, str] | None = None, **params: str) -> None:
        """Start a child, known as ``label`` until it ends; ``dataset`` is what it is given, as ``facts.dataset`` says."""
        given = {"dataset": dataset} if dataset else {}
        self._append("start", label, name=name, params=self._params | params, tags=code(), **given)

    def log_step(self, label: str, step: int, measured: dict[str, float]) -> None:
        """Record what was measured in an epoch or a round of a child."""
        values = {name: float(value) for name, value in measured.items() if name not in SETTINGS}
        self._append("metrics", label, step=step, values=values)

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

    def log_model(self, label: str, name: str, weights: Path, step: int, about: Mapping[str, Any]) -> None:
        """Record the path of the weights of a child, and what is needed to build their network."""
        self._append("model", label, name=name, path=self._shown(weights), step=step, about=about, tags=code() | {NOTE: HOW_TO_LOAD})

    @property
    def sends_models(self) -> bool:
        """Whether ``mlflow.yml`` says that the models of trainings are logged."""
        return self._settings.models

    def end_child(self, label: str) -> None:
        """End a child as FINISHED."""
        self._append("end", label, status="FINISHED")

    def log_scores(self, name: str, scores: dict[str, Any], files: list[Path]) -> None:
        """Record the numbers of scores as metrics, the scores and the files beside them as artifacts."""
        self._append("metrics", step=0, values=_numbers(scores))
        self._append("artifact", name=f"{name}.json", content=scores)
        for file in files:
            self._append("artifact", path=self._shown(file))

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
            self._delivery.finish()

    def _append(self, event: str, *label: str, **fields: Any) -> None:
        self._record.append(event, *label, **fields)
        if self._delivery:
            self._delivery.hear()

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._project) if path.is_relative_to(self._project) else path)


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of scores by names that MLflow allows."""
    parts = {part: scores[part] for part in MEASURED if part in scores}
    for part in MAIN.keys() & parts.keys():
        parts[part] = {name: parts[part][name] for name in MAIN[part]}
    return {_allowed(name): value for name, value in flatten(parts).items() if isinstance(value, int | float)}


def _allowed(name: str) -> str:
    return re.sub(r"[^\w./-]", "", name.replace(" ", "_"))


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
