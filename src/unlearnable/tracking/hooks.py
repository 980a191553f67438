"""Kedro hooks that tell the tracker what happens in a run."""

import logging
import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

if TYPE_CHECKING:
    from unlearnable.tracking.tracker import Tracker

Reports = Iterable[tuple[str, tuple[dict[str, Any], dict[str, Path]]]]
ROUNDS = logging.getLogger("unlearnable.pipelines.progress")
WORKS = {"crafting": "craft-{poison}", "probing": "probe-checkpoints"}  # tags of nodes that report each round, and their MLflow runs
TRAINING = "training"  # tag of nodes
LIKE = "clean_train"  # the set whose statistics every training normalises with
RECIPE = re.compile(r"params:(.+\.)?train")  # how the graph names the recipe of a training
LAST = "epoch-*.last.safetensors"  # the weights of a finished training, in its folder


class _Rounds(logging.Handler):
    """Passes to the tracker what each round of a crafting, or each probed epoch, has measured."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self._tracker = tracker

    def emit(self, record: Any) -> None:
        """Log the measurements of a record from ``pipelines.progress.log_round``."""
        self._tracker.log_step(record.work, record.number, record.measured)


class TrackingHooks:
    """One MLflow run for each Kedro run, with a child run for the crafting, for each training and for the probing.

    Args:
        reports: takes a pipeline and its catalog; yields the name of each set of scores, the scores, and the paths of the files that go
            with them.
    """

    def __init__(self, reports: Callable[[Any, Any], Reports]) -> None:
        self._reports = reports
        self._tracker: Any = None
        self._project = Path()
        self._settings: dict[str, Any] = {}
        self._loader: Any = None
        self._catalog: Any = None
        self._networks: dict[str, dict[str, Any]] = {}
        self._channels: Any = None
        self._rounds = logging.Handler()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read ``mlflow.yml``."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._loader = context.config_loader
        self._project, self._settings = context.project_path, self._loader["mlflow"]

    @hook_impl(wrapper=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> Generator[None, Any, Any]:
        """Start the run before the other hooks check the machine and the data, so that a run they refuse is recorded as FAILED."""
        if self._tracker is not None:  # an interrupt may have left an earlier run of this process open
            self._tracker.end(KeyboardInterrupt())
        self._tracker = self._started(run_params, pipeline, catalog.load("parameters"))
        self._catalog, self._networks, self._channels = catalog, {}, None
        with self._tracker.ended_by_errors():
            return (yield)

    def _started(self, run_params: dict[str, Any], pipeline: Any, parameters: dict[str, Any]) -> "Tracker":
        from unlearnable.tracking import Tracker
        from unlearnable.tracking.facts import start_of

        tracker = Tracker(self._settings, self._project)
        taken = [name for name in pipeline.inputs() if name.startswith("params:")]
        recipes = {name: self._loader.recipe_hash(name) for name in sorted({*pipeline.all_outputs(), LIKE})}
        tracker.start(**start_of(parameters, run_params, taken, recipes, self._loader.raw_images))
        return tracker

    @hook_impl
    def before_node_run(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> None:
        """Start a child run when a training, the crafting or the probing starts."""
        if TRAINING in node.tags:
            self._start_training(node, catalog, inputs)
        for work in WORKS.keys() & node.tags:
            self._tracker.start_child(work, WORKS[work].format(poison=inputs.get("params:poison")))
            self._rounds = _Rounds(self._tracker)
            ROUNDS.addHandler(self._rounds)

    def _start_training(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> None:
        from unlearnable.tracking.facts import dataset

        label, images = trained_on(node), node.inputs[0]
        given = dataset(images, str(getattr(catalog[images], "recipe", "")), {"catalog entry": images})
        self._tracker.start_child(label, f"train-{label}", dataset=given, training=label)
        if self._tracker.sends_models:
            self._networks[label] = self._network(inputs)

    def _network(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``models.build`` and ``training.Network`` for the network of a training."""
        from unlearnable.images import channel_statistics

        images = inputs[LIKE]
        self._channels = self._channels or channel_statistics(images)  # once per run: this takes a while for a large set
        mean, deviation = self._channels
        recipe = inputs[recipe_of(inputs)]
        return {
            "model": inputs["params:model"],
            "shape": list(images.shape),
            "num_classes": images.num_classes,
            "mean": list(mean),
            "deviation": list(deviation if recipe.get("deviations") is None else recipe["deviations"]),
        }

    @hook_impl
    def after_node_run(self, node: Any) -> None:
        """End the child run of the crafting or of the probing."""
        for work in WORKS.keys() & node.tags:
            ROUNDS.removeHandler(self._rounds)
            self._tracker.end_child(work)

    @hook_impl
    def after_dataset_saved(self, node: Any, dataset_name: str, data: Any) -> None:
        """Record what each checkpoint was made on and what was measured up to it, and where the weights of the last one are."""
        if TRAINING in node.tags:
            label = trained_on(node)
            self._tracker.log_made_on(label, data.made_on | {"threads": f"{data.measured['threads']:.0f}"})
            self._tracker.log_history(label, data.history)
            if data.is_last:
                self._log_model(label, dataset_name, data.epoch)
                self._tracker.end_child(label)

    def _log_model(self, label: str, dataset_name: str, epoch: int) -> None:
        from unlearnable.artifacts.storage import whole_versions

        if about := self._networks.pop(label, None):
            dataset = self._catalog[dataset_name]
            [weights] = whole_versions(dataset.place)[-1].glob(LAST)
            self._tracker.log_model(label, f"{label}-{about['model']}", weights, epoch, about | {"recipe": dataset.recipe})

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Log the scores with their files, and end the run."""
        with self._tracker.ended_by_errors():
            for name, (scores, files) in self._reports(pipeline, catalog):
                self._tracker.log_scores(name, scores, list(files.values()))
        self._tracker.end()

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Mark the run and its open children as FAILED, or as KILLED by an interrupt."""
        ROUNDS.removeHandler(self._rounds)
        if self._tracker is not None:  # a signal may arrive before the tracker exists
            self._tracker.end(error)


def trained_on(node: Any) -> str:
    """Return the name of the set that a node trains on."""
    return str(node.outputs[0]).removesuffix("_checkpoints")


def recipe_of(inputs: Iterable[str]) -> str:
    """Return the name of the input that holds the recipe of a training."""
    [name] = [name for name in inputs if RECIPE.fullmatch(name)]
    return name
