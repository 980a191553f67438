"""The cells of a study, and the parts that they share, each named by the hash of its recipe."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from typing import Any

from kedro.framework.project import pipelines
from kedro.pipeline.node import Node

from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.recipe import CELL_NAMES
from unlearnable.config.validation import check, check_machine
from unlearnable.errors import InputError
from unlearnable.study.definition import Settings, Study

CHAINS = {  # what a study may run, and what it ends with
    "recover": "scores",
    "dfr": "dfr_scores",
    "separability": "separability_scores",
    "learnability": "learnability_scores",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one run makes: a cell, or what cells share.

    Args:
        key: the path of the first thing that it makes, from the project on.
        stage: the chain of a cell, or the name of the node that cells share.
        label: of people, such as ``ops jpeg small_cnn seed 0``.
        pipeline, node: what Kedro runs: a chain, or one node of it.
        parameters: of the run, over those of the environment.
        paths: of what it makes, from the project on, by the names in the catalog.
        before: keys of the parts that it depends on.
    """

    key: str
    stage: str
    label: str
    pipeline: str
    node: str | None
    parameters: Settings
    paths: Mapping[str, str]
    before: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a study, of which ``key`` names the part that makes it: cells that an override leaves as they are have one in common.

    Args:
        chain, poison, recovery, model, seed, override: what it is.
        settings: of its run, over the parameters of the environment.
        configuration: with these.
    """

    chain: str
    poison: str
    recovery: str
    model: str
    seed: int
    override: str
    settings: Settings
    configuration: RecipeConfigLoader = field(repr=False, compare=False)

    @property
    def scores(self) -> str:
        """The name of its scores in the catalog."""
        return CHAINS[self.chain]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of its run."""
        return self.configuration["parameters"]  # type: ignore[no-any-return]

    @cached_property
    def paths(self) -> dict[str, str]:
        """The paths of its scores and the files beside them, from the project on, by the names in the catalog."""
        return self._paths([self.scores, *_beside(self.chain)])

    @property
    def key(self) -> str:
        """The key of the part that makes it."""
        return self.paths[self.scores]

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The nodes that make artifacts other than the cell's, each after those that it depends on, by what they make."""
        found: dict[str, Node] = {}
        for node in _others(self.chain):  # of two that make the same, as where nothing is recovered, the first
            found.setdefault(self.configuration.filepath(node.outputs[0]), node)
        return found

    def part(self, before: tuple[str, ...]) -> Part:
        """Return what makes the cell."""
        what = self.recovery if self.chain == "recover" else self.chain
        return self._part(self.chain, [self.poison, what, self.model, f"seed {self.seed}"], None, self.paths, before)

    def shared(self, node: Node, before: tuple[str, ...]) -> Part:
        """Return what makes an artifact that cells share."""
        stage = node.name.rpartition(".")[2]
        shown = [name.replace("seed-", "seed ") for name in self.configuration.names(node.outputs[0]) if name != "clean"]
        return self._part(stage, [stage.replace("_", " "), *shown], node.name, self._paths(node.outputs), before)

    def _part(self, stage: str, words: list[str], node: str | None, paths: Mapping[str, str], before: tuple[str, ...]) -> Part:
        return Part(
            key=next(iter(paths.values())),
            stage=stage,
            label=" ".join(filter(None, [*words, self.override])),
            pipeline=self.chain,
            node=node,
            parameters=self.settings,
            paths=paths,
            before=before,
        )

    def _paths(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self.configuration.filepath(name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All cells of a study, and every part by its key, those that others depend on first."""

    study: Study
    cells: tuple[Cell, ...]
    parts: dict[str, Part]

    def needed(self, complete: set[str]) -> dict[str, Part]:
        """Return the parts that are missing if those of ``complete`` exist: cells, and what they depend on."""
        needed = {cell.key for cell in self.cells} - complete
        for key in reversed(self.parts):  # a part comes after what it depends on
            if key in needed:
                needed |= set(self.parts[key].before) - complete
        return {key: part for key, part in self.parts.items() if key in needed}


def expand(study: Study, loaders: Mapping[str, RecipeConfigLoader]) -> Grid:
    """Return the grid of a study.

    Args:
        study: what it asks.
        loaders: of the configuration under each of its overrides.

    Raises:
        InputError: one line that names the study and what is wrong: an unknown name, a wrong parameter.
    """
    try:
        cells = tuple(_cells(study, loaders))
    except InputError as error:
        raise InputError(f"study '{study.name}': {error}") from None
    uses = Counter(key for cell in {cell.key: cell for cell in cells}.values() for key in cell.nodes)
    parts: dict[str, Part] = {}
    for cell in cells:
        shared = {key: node for key, node in cell.nodes.items() if uses[key] > 1}
        for key, node in shared.items():
            above = _above(cell.chain, node.name)
            parts.setdefault(key, cell.shared(node, tuple(other for other, each in shared.items() if each.name in above)))
        parts.setdefault(cell.key, cell.part(tuple(shared)))
    return Grid(study=study, cells=cells, parts=parts)


@cache
def _beside(chain: str) -> tuple[str, ...]:
    """Return the catalog's names of the files beside the scores of a chain."""
    return tuple(sorted(pipelines[chain].only_nodes_with_tags(CHAINS[chain]).all_outputs()))


@cache
def _others(chain: str) -> tuple[Node, ...]:
    """Return the nodes of a chain that make neither its scores nor the files beside them, each after those that it depends on."""
    own = {CHAINS[chain], *_beside(chain)}
    return tuple(node for node in pipelines[chain].nodes if not own & set(node.outputs))


@cache
def _above(chain: str, node: str) -> frozenset[str]:
    """Return the names of the nodes that a node of a chain depends on."""
    return frozenset(each.name for each in pipelines[chain].to_nodes(node).nodes) - {node}


def _cells(study: Study, loaders: Mapping[str, RecipeConfigLoader]) -> Iterator[Cell]:
    for override, chain in product(study.overrides, study.chains):
        recoveries = study.recoveries if chain == "recover" else ["none"]  # the other chains look at none
        settings = study.settings(override)
        for values in product(study.poisons, recoveries, study.models, study.seeds):
            axes: dict[str, Any] = dict(zip(CELL_NAMES, values, strict=True))
            configuration = loaders[override].cell(**axes)
            check(configuration["parameters"])
            check_machine(configuration["parameters"])
            yield Cell(chain=chain, override=override, configuration=configuration, settings=settings | axes, **axes)
