"""The tracker, to which the hooks report what a run does."""

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
UNUSED = "MLFLOW_TRACKING_URI"  # the variable that MLflow reads by default
LONGEST_TAG = 500
LAST_UNSAID = 4  # up to this format of recipes, records do not name it
# The parts of scores that hold measurements.
MEASURED = ("accuracy", "projection", "likeness", "dfr", "separability", "learnability", "audit", "seconds")
MAIN = {"audit": ("originals", "ways", "perceptibility")}  # parts of which only some entries are logged
HOW_TO_LOAD = (
    "Weights as safetensors, without code. `unlearnable.models.build(model, shape=shape, num_classes=num_classes, seed=0)` makes the "
    "network, and `load_state_dict(safetensors.torch.load_file(weights))` gives it the weights. It takes images in units of [0, 1], less "
    "`mean` and divided by `deviation`."
)
SETTINGS = ("threads",)  # noted in every epoch but not measured: their charts would be straight lines


class Tracker:
    """One run, with a child for the crafting, for each training and for the probing.

    Everything is appended to a record on the disk. If ``mlflow.yml`` names a server, a background process sends it to MLflow.

    Args:
        settings: the content of ``mlflow.yml``.
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
        """Start the record and the background process; close the records of killed runs.

        Args:
            facts: what ``facts.start_of`` returns.

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
            close_killed(records(folder))  # otherwise the background process does this

    def _tell_unused(self, uri: str | None) -> None:
        """Log that MLflow's own variable is ignored, if it names another server than ``mlflow.yml``."""
        if uri and uri != self._settings.tracking_uri:
            used = without_password(self._settings.tracking_uri or "none")
            logger.warning("%s=%s is not used: mlflow.yml says where runs go ('tracking_uri': %s)", UNUSED, without_password(uri), used)

    def start_child(self, label: str, name: str, dataset: Mapping[str, str] | None = None, **params: str) -> None:
        """Start a child, known as ``label`` until it ends; ``dataset`` describes its input, as ``facts.dataset`` returns it."""
        given = {"dataset": dataset} if dataset else {}
        self._append("start", label, name=name, params=self._params | params, tags=code(), **given)

    def log_step(self, label: str, step: int, measured: dict[str, float]) -> None:
        """Record what was measured in an epoch or a round of a child."""
        values = {name: float(value) for name, value in measured.items() if name not in SETTINGS}
        self._append("metrics", label, step=step, values=values)

    def log_history(self, label: str, history: list[dict[str, float]]) -> None:
        """Record the epochs of a training that are not recorded yet: the history of a resumed one has all epochs before it."""
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
        """Record the path of a child's weights, and what is needed to build their network."""
        self._append("model", label, name=name, path=self._shown(weights), step=step, about=about, tags=code() | {NOTE: HOW_TO_LOAD})

    @property
    def sends_models(self) -> bool:
        """Whether the trained models are logged, as ``mlflow.yml`` says."""
        return self._settings.models

    def end_child(self, label: str) -> None:
        """End a child as FINISHED."""
        self._append("end", label, status="FINISHED")

    def log_scores(self, name: str, scores: dict[str, Any], files: list[Path]) -> None:
        """Record the numbers of scores as metrics, and the scores and their files as artifacts."""
        self._append("metrics", step=0, values=_numbers(scores))
        self._append("artifact", name=f"{name}.json", content=scores)
        for file in files:
            self._append("artifact", path=self._shown(file))

    @contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """End the run if the block raises."""
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise

    def end(self, error: BaseException | None = None) -> None:
        """End the run and its open children: FINISHED, KILLED by an interrupt, or FAILED with the error as a tag.

        Wait a while until MLflow has everything. Neither this nor a full disk raises: that would hide the first error.
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
    """Return the numbers of scores, under names that MLflow allows."""
    parts = {part: scores[part] for part in MEASURED if part in scores}
    for part in MAIN.keys() & parts.keys():
        parts[part] = {name: parts[part][name] for name in MAIN[part]}
    return {_allowed(name): value for name, value in flatten(parts).items() if isinstance(value, int | float)}


def _allowed(name: str) -> str:
    return re.sub(r"[^\w./-]", "", name.replace(" ", "_"))


def _say_that_results_are_old(folder: Path) -> None:
    """Log a line if the previous run had an earlier format: its results can no longer be found by their recipe."""
    newest = next((read(path) for path in reversed(records(folder))), iter(()))
    tags = next((event.get("tags", {}) for event, _ in newest), {"format": FORMAT})
    before = int(tags.get("format", LAST_UNSAID))
    if before < FORMAT:
        logger.warning(
            "results in data have format %d, of an earlier version: they are not used, and are made again (now: %d)", before, FORMAT
        )


def _outcome(error: BaseException | None) -> tuple[str, str | None]:
    if error is None:
        return "FINISHED", None
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", " ".join(str(error).split())[:LONGEST_TAG]
