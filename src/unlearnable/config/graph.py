"""The recipe of an artifact, read from the pipelines: every parameter of the nodes above it, and every entry that no node makes.

Nothing here knows this project: which parameters choose among the parts of a block, and which cannot change a result, is declared where
the pipelines are registered.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from unlearnable.register import unknown

PARAMETER = "params:"
Recipe = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A block of parameters of which a run uses one part.

    Args:
        block: its name, such as ``craft``.
        by: the parameters that choose a part by its name, such as ``poison``; a node takes one of them.
        nothing: the name for which a node passes on its input, whose recipe is then its own.
        shared: names in the block that all parts use.
        optional: names in the block that all parts use if they are set.
        mixture: the part that names others, which are used too.
        entries: catalog entries that replace the settings of a part, by its name.
    """

    block: str
    by: tuple[str, ...]
    nothing: str | None = None
    shared: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    mixture: str | None = None
    entries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What depends on what.

    Args:
        pipelines: returns the pipelines by name. Where two nodes make one artifact, the first one says what decides it.
        choices: blocks of which one part is used.
        ignored: parameters that cannot change a result.
        known_as: parameters that stand in a recipe under another's name, where a node does not read that one too: equal values are then
            equal recipes.
    """

    pipelines: Callable[[], Mapping[str, Pipeline]]
    choices: tuple[Choice, ...] = ()
    ignored: frozenset[str] = frozenset()
    known_as: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def makers(self) -> dict[str, Node]:
        """The node that makes each artifact."""
        found: dict[str, Node] = {}
        for pipeline in self.pipelines().values():
            for node in pipeline.nodes:
                found |= {name: node for name in node.outputs if name not in found}
        return found

    @cached_property
    def _unmade(self) -> set[str]:
        """The names of what nodes read and none makes."""
        return {name for node in self.makers.values() for name in node.inputs if not is_parameter(name)} - self.makers.keys()

    @cached_property
    def entries(self) -> list[str]:
        """The names of all that nodes make or read, and of the entries that choices name."""
        named = {entry for choice in self.choices for entry in choice.entries.values()}
        return sorted({*self.makers, *self._unmade, *named})

    def sources(self, parameters: Mapping[str, Any]) -> list[str]:
        """Return the entries that no node makes and that a run reads: those that nodes take, and those that its choices name."""
        chosen = {choice.entries.get(str(dotted(parameters, by))) for choice in self.choices for by in choice.by}
        return sorted(self._unmade | {entry for entry in chosen if entry})

    def above(self, artifact: str) -> tuple[Node, ...]:
        """Return the nodes that an artifact depends on, each after those that it depends on itself.

        Raises:
            InputError: no node makes it.
        """
        if artifact not in self.makers:
            raise unknown("artifact", artifact, sorted(self.makers))
        return tuple(dict.fromkeys(self._above(artifact)))

    def _above(self, artifact: str) -> Iterator[Node]:
        node = self.makers[artifact]
        for name in node.inputs:
            if name in self.makers:
                yield from self._above(name)
        yield node

    def recipe(self, artifact: str, parameters: Mapping[str, Any], entry: Callable[[str], Any]) -> Recipe:
        """Return all that decides the bytes of an artifact, by name.

        Args:
            artifact: its name in the catalog.
            parameters: of the run.
            entry: returns what an entry says about its bytes.

        Raises:
            InputError: no node makes the artifact.
        """
        found: Recipe = {}
        for node in self.above(artifact):
            found |= self._own(node, parameters, entry)
        return found

    def parts(self, artifact: str, parameters: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return what of each block is chosen by the nodes above an artifact, those that choose nothing left out."""
        asked = with_parameters(self.above(artifact))
        return {
            choice.block: [name for by in choice.by if by in asked and (name := str(dotted(parameters, by))) != choice.nothing]
            for choice in self.choices
        }

    def _own(self, node: Node, parameters: Mapping[str, Any], entry: Callable[[str], Any]) -> Recipe:
        """Return what a node adds to the recipe of what it makes."""
        asked = with_parameters([node]) - self.ignored
        found: Recipe = {name: entry(name) for name in node.inputs if name in self._unmade}
        for choice in self.choices:
            by = next((name for name in choice.by if name in asked), None)
            if by is not None and choice.block in asked:
                asked -= {by, choice.block}
                found |= _chosen(choice, str(dotted(parameters, by)), dotted(parameters, choice.block), entry)
        own = {name: self.known_as.get(name, name) for name in asked}
        return found | {name if other in asked else other: dotted(parameters, name) for name, other in own.items()}


def _chosen(choice: Choice, name: str, block: Mapping[str, Any], entry: Callable[[str], Any]) -> Recipe:
    """Return the part of a block that is used, under its full name, and what all parts share."""
    if name == choice.nothing:
        return {}
    part = entry(choice.entries[name]) if name in choice.entries else block.get(name) or {}
    used = {name: part} | {each: block.get(each) or {} for each in (part if name == choice.mixture else ())}
    used |= {each: block[each] for each in choice.shared if each in block}
    used |= {each: block[each] for each in choice.optional if block.get(each) is not None}
    return {f"{choice.block}.{each}": value for each, value in used.items()}


def is_parameter(name: str) -> bool:
    """Return whether an input of a node is a parameter."""
    return name.startswith(PARAMETER)


def dotted(settings: Mapping[str, Any], name: str) -> Any:
    """Return a nested setting by its dotted name."""
    for part in name.split("."):
        settings = settings[part]
    return settings


def found_at(settings: Any, name: str) -> Any:
    """Return a nested setting by its dotted name, None if there is none."""
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def hashed(recipe: Recipe, *also: object) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of a recipe, and of what else decides: a format, versions."""
    return hashlib.sha256(json.dumps([recipe, *also], sort_keys=True, default=str).encode()).hexdigest()[:12]


def with_parameters(nodes: Iterable[Node]) -> set[str]:
    """Return the names of the parameters that nodes take."""
    return {name.removeprefix(PARAMETER) for node in nodes for name in node.inputs if is_parameter(name)}
