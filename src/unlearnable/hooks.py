"""What happens around a run: its parameters are checked, and it ends with a table. What is recorded of it: ``tracking.hooks``.

Libraries that take seconds to import (torch) are imported when a run needs them, not when Kedro lists commands.
"""

import logging
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from unlearnable.config.graph import found_at
from unlearnable.config.recipe import PARTS, RELEASED
from unlearnable.errors import InputError
from unlearnable.interrupts import answer
from unlearnable.of_timm import TIMM
from unlearnable.parts import MIXTURE
from unlearnable.tracking.hooks import recipe_of, trained_on

logger = logging.getLogger(__name__)
CLEAN = "clean_train"
CRAFTING = "crafting"
COPIES = "protected_images"
ONLY = "orthogonal_projection"  # the recovery of Algorithm 1's nodes


class RefusalHooks:
    """Refuse a run whose parameters do not fit its pipeline: nothing of it is recorded."""

    @hook_impl(wrapper=True, tryfirst=True)
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> Generator[None, Any, Any]:
        """Raise InputError if the pipeline cannot run the chosen recovery."""
        parameters = catalog.load("parameters")
        _require_recoveries(pipeline.inputs(), parameters["recovery"], parameters["audit"]["recovery"])
        return (yield)


class CheckHooks:
    """Check what parameters need of the machine before anything runs, and of the data once it is there; pin torch's threads."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._parameters: dict[str, Any] = {}
        self._project = Path()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Tell the configuration where the project's relative paths start."""
        self._project = context.config_loader.project_path = context.project_path

    @hook_impl
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Raise InputError if the machine has no such device, or the entry of the released poison is wrong."""
        parameters = catalog.load("parameters")
        _require_folders(pipeline, catalog, parameters["poison"], parameters["craft"])
        _require_weights(self._project, parameters)
        import torch

        from unlearnable.config.validation import check_machine

        check_machine(parameters)
        if parameters["poison"] == RELEASED:
            catalog.load("released_poison").check()
        torch.set_num_threads(parameters["threads"] or torch.get_num_threads())
        self._nodes, self._parameters = pipeline.nodes if CLEAN in pipeline.datasets() else [], parameters

    @hook_impl(trylast=True)
    def before_node_run(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> None:
        """Raise InputError, as soon as the clean images are there, if a node of the run needs more of them."""
        if self._nodes and CLEAN not in node.outputs:
            from unlearnable.pipelines.requirements import require

            nodes, self._nodes = self._nodes, []
            require(nodes, inputs.get(CLEAN) or catalog.load(CLEAN), self._parameters)


def _require_recoveries(inputs: set[str], recovery: str, second: str) -> None:
    """Raise InputError if a pipeline cannot run the chosen recovery."""
    if "params:audit.recovery" in inputs and second == recovery:
        raise InputError(f"audit.recovery: expected another recovery than 'recovery', got '{recovery}' for both")
    if {f"params:recover.{ONLY}", "params:recovery"} <= inputs and recovery != ONLY:
        raise InputError(f"recovery: expected '{ONLY}' in this pipeline, got '{recovery}': --pipeline=recover runs any")


def _require_folders(pipeline: Any, catalog: Any, poison: str, craft: dict[str, Any]) -> None:
    """Raise InputError if images that are to be protected are not there, or their copies cannot be written."""
    if COPIES in pipeline.all_outputs():
        if poison in (RELEASED, MIXTURE):
            raise InputError(f"poison: expected one that can be crafted on all images, got '{poison}'")
        if odd := [name for name in PARTS if craft.get(name) is not None]:
            raise InputError(f"craft.{odd[0]}: expected none, since all images are protected, got {craft[odd[0]]!r}")
        originals = catalog.load("originals")
        originals.files()
        catalog[COPIES].check(originals.path)


def _require_weights(project: Path, parameters: dict[str, Any]) -> None:
    """Raise InputError if a file of weights is not there, or is a checkpoint that is not what its sidecar says."""
    from unlearnable.artifacts.atomic import DamagedError, read_checked, sidecar
    from unlearnable.config.validation import trained_networks

    for name in trained_networks(parameters):
        training = found_at(parameters, name)
        path = project / (training["weights"] or "")
        if training["weights"] in (None, TIMM):
            continue
        if not path.is_file():
            raise InputError(f"{name}.weights: expected a safetensors file, got {training['weights']}, which is none")
        try:
            _ = sidecar(path).is_file() and read_checked(path)
        except DamagedError as error:
            raise InputError(f"{name}.weights: {error}") from None


class ArtifactHooks:
    """Remove the temporary files of killed runs, and give nodes what the graph does not show."""

    def __init__(self) -> None:
        self._data = Path()
        self._catalog: Any = None
        self._trained: dict[Path, Any] = {}

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note the folder of the artifacts."""
        self._data = context.project_path / "data"

    @hook_impl
    def before_pipeline_run(self, catalog: Any) -> None:
        """Remove the temporary files of dead processes."""
        from unlearnable.artifacts.atomic import sweep

        self._catalog, self._trained = catalog, {}
        swept = sum(sweep(layer) for layer in self._data.glob("0[2-9]_*"))  # not the raw images: there may be millions
        if swept:
            logger.info("removed %d temporary files of runs that were killed", swept)

    @hook_impl
    def before_node_run(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Give a training the function that returns the checkpoints of an interrupted one, and the crafting its release.

        The graph shows what decides a result. Where a training was interrupted does not, and a release has an entry in the recipe.
        """
        from unlearnable.pipelines.train_poisoned.nodes import UNFINISHED

        if "training" in node.tags:
            recipe, own = recipe_of(inputs), catalog.get(node.outputs[0])
            twin = self._trained.get(own.place)
            start = (lambda _: twin.load()) if twin else own.to_go_on_from
            return {recipe: inputs[recipe] | {UNFINISHED: start}}
        if CRAFTING in node.tags and inputs["params:poison"] == RELEASED:
            return {"params:craft": inputs["params:craft"] | {RELEASED: catalog.load("released_poison")}}
        return {}

    @hook_impl
    def after_dataset_saved(self, node: Any, dataset_name: str, data: Any) -> None:
        """Note what has been trained: where nothing is recovered, two nodes have one recipe, and the second takes what the first made."""
        if "training" in node.tags and data.is_last:
            dataset = self._catalog.get(dataset_name)
            self._trained[dataset.place] = dataset

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Release all checkpoints, so that another run of this process may resume from them."""
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
            from unlearnable.artifacts.storage import Storage

            self._storage = Storage.of(settings, context.project_path, loader.credentials())

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Fetch what other machines have made, and upload what was made before there was a storage."""
        self._catalog = catalog
        for name in sorted(pipeline.datasets()) if self._storage else ():
            self._share(name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Upload what was made; a training only when it has ended."""
        if self._storage and getattr(data, "is_last", True):
            self._share(dataset_name)

    def _share(self, name: str) -> None:
        from unlearnable.artifacts.artifact import Artifact

        dataset = self._catalog[name] if self._catalog else None  # a process of ParallelRunner's has none
        while isinstance(dataset, Artifact) and dataset.place.is_relative_to(self._project):
            self._storage.share(dataset.place)
            dataset = getattr(dataset, "pixels", None)  # another set that its pixels are read from


class InterruptHooks:
    """Ends an interrupted run between two nodes, after the other hooks have recorded what was done."""

    @hook_impl(trylast=True)
    def before_node_run(self) -> None:
        """Raise InterruptedRun if the run was interrupted."""
        answer()

    @hook_impl(trylast=True)
    def after_dataset_saved(self) -> None:
        """Raise InterruptedRun if the run was interrupted."""
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
                *(trained_on(node), data.epoch, data.epochs, measured["loss"]),
                *(100 * measured["test_accuracy"], measured["images_per_second"]),
            )

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Print what the run found, also if all of it was there already."""
        if found := [report for _, report in reports(pipeline, catalog)]:
            from unlearnable.summary import show

            show(found)


def reports(pipeline: Any, catalog: Any) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, Path]]]]:
    """Yield the name of each scores of ``pipeline``, with the scores and the paths of the files beside them."""
    for name in sorted(name for name in pipeline.all_outputs() if name.endswith("scores")):
        files = sorted(pipeline.only_nodes_with_tags(name).all_outputs())
        yield name, (catalog.load(name), {file: catalog[file].newest() for file in files})
