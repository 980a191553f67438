"""What happens around a run: its parameters are checked, it is tracked, and it ends with a table.

Libraries that take seconds to import (torch, mlflow) are imported when a run needs them, not when Kedro lists commands.
"""

import logging
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from unlearnable.config.recipe import RELEASED
from unlearnable.errors import InputError
from unlearnable.interrupts import answer

logger = logging.getLogger(__name__)
ROUNDS = logging.getLogger("unlearnable.pipelines.progress")
CLEAN = "clean_train"
CRAFTING = "crafting"
WORKS = {CRAFTING: "craft-{poison}", "probing": "probe-checkpoints"}  # tags of nodes that tell each round, and their MLflow runs
ONLY = "orthogonal_projection"  # the recovery of Algorithm 1's nodes


class CheckHooks:
    """Check what parameters need of the machine before anything runs, and of the data once it is there; pin torch's threads."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._parameters: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Tell the configuration where the project's relative paths start."""
        context.config_loader.project_path = context.project_path

    @hook_impl
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Raise InputError where the machine has no such device, or the entry of a released poison that is asked for is wrong."""
        parameters = catalog.load("parameters")
        _require_recoveries(pipeline.inputs(), parameters["recovery"], parameters["audit"]["recovery"])
        import torch

        from unlearnable.config.validation import check_machine

        check_machine(parameters)
        if parameters["poison"] == RELEASED:
            catalog.load("released_poison").check()
        torch.set_num_threads(parameters["threads"] or torch.get_num_threads())
        self._nodes, self._parameters = pipeline.nodes if CLEAN in pipeline.datasets() else [], parameters

    @hook_impl(trylast=True)
    def before_node_run(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> None:
        """Raise InputError, as soon as the clean images are there, where a node of the run asks for more than they are."""
        if self._nodes and CLEAN not in node.outputs:
            from unlearnable.pipelines.requirements import require

            nodes, self._nodes = self._nodes, []
            require(nodes, inputs.get(CLEAN) or catalog.load(CLEAN), self._parameters)


def _require_recoveries(inputs: set[str], recovery: str, second: str) -> None:
    """Raise InputError where a pipeline cannot run the recovery that is asked for."""
    if "params:audit.recovery" in inputs and second == recovery:
        raise InputError(f"audit.recovery: expected another recovery than 'recovery', got '{recovery}' for both")
    if {f"params:recover.{ONLY}", "params:recovery"} <= inputs and recovery != ONLY:
        raise InputError(f"recovery: expected '{ONLY}' in this pipeline, got '{recovery}': --pipeline=recover runs any")


class ArtifactHooks:
    """Clear away what runs that were killed have left, and hand nodes what the graph does not show."""

    def __init__(self) -> None:
        self._data = Path()
        self._catalog: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note where artifacts lie."""
        self._data = context.project_path / "data"

    @hook_impl
    def before_pipeline_run(self, catalog: Any) -> None:
        """Remove the temporary files of dead processes."""
        from unlearnable.datasets.atomic import sweep

        self._catalog = catalog
        swept = sum(sweep(layer) for layer in self._data.glob("0[2-9]_*"))  # not the raw images, which may be millions
        if swept:
            logger.info("removed %d temporary files of runs that were killed", swept)

    @hook_impl
    def before_node_run(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Hand a training what returns the checkpoints of one that was cut off, and the crafting the release that it is asked for.

        The graph is of what decides a result. Where a training was cut off decides none, and a release has an entry in the recipe.
        """
        from unlearnable.pipelines.train_poisoned.nodes import UNFINISHED

        if "training" in node.tags:
            recipe = next(f"params:{name}" for name in ("train", "probe.train") if f"params:{name}" in inputs)
            return {recipe: inputs[recipe] | {UNFINISHED: catalog.get(node.outputs[0]).to_go_on_from}}
        if CRAFTING in node.tags and inputs["params:poison"] == RELEASED:
            return {"params:craft": inputs["params:craft"] | {RELEASED: catalog.load("released_poison")}}
        return {}

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let go of all checkpoints, so that another run of this process may go on from them."""
        for name in self._catalog.filter(type_regex="checkpoints") if self._catalog else []:
            self._catalog.release(name)


class StorageHooks:
    """Share artifacts with other machines, where ``storage.yml`` names a place."""

    def __init__(self) -> None:
        self._storage: Any = None
        self._project = Path()
        self._catalog: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read ``storage.yml``."""
        loader = context.config_loader
        settings = loader["storage"]
        self._storage, self._project = None, context.project_path
        if settings.get("url") is not None:
            from unlearnable.datasets.storage import Storage

            self._storage = Storage.of(settings, context.project_path, loader.credentials())

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Fetch what others have made, and hand on what was made before there was a storage."""
        self._catalog = catalog
        for name in sorted(pipeline.datasets()) if self._storage else ():
            self._share(name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Hand on what was made; of a training, once it has ended."""
        if self._storage and getattr(data, "is_last", True):
            self._share(dataset_name)

    def _share(self, name: str) -> None:
        from unlearnable.datasets.artifact import Artifact

        dataset = self._catalog[name] if self._catalog else None  # a process of ParallelRunner's has none
        while isinstance(dataset, Artifact) and dataset.place.is_relative_to(self._project):
            self._storage.share(dataset.place)
            dataset = getattr(dataset, "pixels", None)  # another set that its pixels are read from


class InterruptHooks:
    """Let a run that was asked to end do so between two nodes, once the other hooks have noted what there was."""

    @hook_impl(trylast=True)
    def before_node_run(self) -> None:
        """Raise InterruptedRun where the run was asked to end."""
        answer()

    @hook_impl(trylast=True)
    def after_dataset_saved(self) -> None:
        """Raise InterruptedRun where the run was asked to end."""
        answer()


class SummaryHooks:
    """Log each epoch of a training and how long the crafting took; end a run that has scores with a table and the paths of its figures."""

    def __init__(self) -> None:
        self._start = 0.0

    @hook_impl
    def before_node_run(self) -> None:
        """Note the time."""
        self._start = time.perf_counter()

    @hook_impl
    def after_node_run(self, node: Any, inputs: dict[str, Any]) -> None:
        """Log how long the crafting took."""
        if CRAFTING in node.tags:
            logger.info("crafted %s in %.1f s", inputs["params:poison"], time.perf_counter() - self._start)

    @hook_impl
    def after_dataset_saved(self, node: Any, data: Any) -> None:
        """Log what was measured with each checkpoint: where no terminal shows the bar, this is the progress."""
        if "training" in node.tags:
            measured = data.measured
            logger.info(
                "%s: epoch %d of %d, loss %.3f, test accuracy %.1f%%, %.0f images/s",
                *(_trained(node), data.epoch, data.epochs, measured["loss"]),
                *(100 * measured["test_accuracy"], measured["images_per_second"]),
            )

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Print what the run found, also where all of it was there already."""
        if reports := [report for _, report in _reports(pipeline, catalog)]:
            from unlearnable.summary import show

            show(reports)


def _reports(pipeline: Any, catalog: Any) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, Path]]]]:
    """Yield the name of each scores of ``pipeline``, with the scores and the paths of the files beside them."""
    for name in sorted(name for name in pipeline.all_outputs() if name.endswith("scores")):
        files = sorted(pipeline.only_nodes_with_tags(name).all_outputs())
        yield name, (catalog.load(name), {file: catalog[file].newest() for file in files})


def _trained(node: Any) -> str:
    """Return the name of the set that a node trains on."""
    return str(node.outputs[0]).removesuffix("_checkpoints")


class _Rounds(logging.Handler):
    """Hands what each round of a crafting, or each epoch that is probed, has measured on to the tracker."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self._tracker = tracker

    def emit(self, record: Any) -> None:
        """Log what a record of ``pipelines.progress.log_round`` carries."""
        self._tracker.log_step(record.work, record.number, record.measured)


class TrackingHooks:
    """One MLflow run for each Kedro run, and a child of it for the crafting, for each training and for the probing."""

    def __init__(self) -> None:
        self._tracker: Any = None
        self._project = Path()
        self._loader: Any = None
        self._settings: dict[str, Any] = {}
        self._rounds = logging.Handler()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read ``mlflow.yml``."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._project, self._loader, self._settings = context.project_path, context.config_loader, context.config_loader["mlflow"]

    @hook_impl(wrapper=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> Generator[None, Any, Any]:
        """Start the run before the other hooks look at the machine and the data, so that what they refuse is a run that FAILED."""
        from unlearnable.tracking import Tracker

        if self._tracker is not None:  # of an earlier run of this process, which an interrupt may have left open
            self._tracker.end(KeyboardInterrupt())
        tracker = Tracker(self._settings, self._project)
        tracker.start(catalog.load("parameters"), run_params, {name: self._loader.recipe_hash(name) for name in pipeline.all_outputs()})
        self._tracker = tracker
        with self._tracker.ended_by_errors():
            return (yield)

    @hook_impl
    def before_node_run(self, node: Any, inputs: dict[str, Any]) -> None:
        """Start a child run where a training, the crafting or the probing starts."""
        if "training" in node.tags:
            self._tracker.start_child(_trained(node), f"train-{_trained(node)}", training=_trained(node))
        for work in WORKS.keys() & node.tags:
            self._tracker.start_child(work, WORKS[work].format(poison=inputs.get("params:poison")))
            self._rounds = _Rounds(self._tracker)
            ROUNDS.addHandler(self._rounds)

    @hook_impl
    def after_node_run(self, node: Any) -> None:
        """End the child run of the crafting or of the probing."""
        for work in WORKS.keys() & node.tags:
            ROUNDS.removeHandler(self._rounds)
            self._tracker.end_child(work)

    @hook_impl
    def after_dataset_saved(self, node: Any, data: Any) -> None:
        """Record what each checkpoint was made on, and what was measured up to it."""
        if "training" in node.tags:
            self._tracker.log_made_on(_trained(node), data.made_on)
            self._tracker.log_history(_trained(node), data.history)
            if data.is_last:
                self._tracker.end_child(_trained(node))

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Log scores with the files beside them, and end the run."""
        with self._tracker.ended_by_errors():
            for name, (scores, files) in _reports(pipeline, catalog):
                self._tracker.log_scores(name, scores, list(files.values()))
        self._tracker.end()

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Mark the run and its open children as FAILED, or as KILLED by an interrupt."""
        ROUNDS.removeHandler(self._rounds)
        if self._tracker is not None:  # a signal may come before there is one
            self._tracker.end(error)
