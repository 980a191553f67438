"""The cells of a study, and the parts that they share, each named by the hash of its recipe."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.recipe import CELL, made_by
from unlearnable.config.validation import check, check_machine
from unlearnable.errors import InputError
from unlearnable.study.definition import Settings, Study, merged

# What is made before the cells that need it: the pipeline, the namespace in it, and what it makes.
SHARED = {
    "ingest": ("ingest", None, ("clean_train", "clean_test")),
    "craft_poison": ("craft_poison", None, ("poisoned_train",)),
    "train_clean": ("train_poisoned", "clean", ("clean_checkpoints",)),
    "train_poisoned": ("train_poisoned", "poisoned", ("poisoned_checkpoints",)),
}
BEFORE = {  # what each shared part depends on
    "craft_poison": ("ingest",),
    "train_clean": ("ingest",),
    "train_poisoned": ("craft_poison",),
}
CHAINS = {  # the stage whose hash names the cell, the outputs by which it is done, and what it depends on
    "recover": ("evaluate", ("scores", "history", "accuracy_figure", "examples_figure"), ("craft_poison", "train_clean", "train_poisoned")),
    "dfr": ("evaluate_dfr", ("dfr_scores", "dfr_figure", "dfr_table"), ("craft_poison",)),
    "separability": ("evaluate_separability", ("separability_scores", "separability_figure"), ("craft_poison",)),
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one run makes: a cell, or what cells share.

    Args:
        key: the stage, and the hash of its recipe.
        label: of people, such as ``ops jpeg small_cnn seed 0``.
        pipeline, namespace: what Kedro runs.
        parameters: of the run, over those of the environment.
        paths: of what it makes, relative to the project.
        before: keys of the parts that it depends on.
    """

    key: str
    label: str
    pipeline: str
    namespace: str | None
    parameters: Settings
    paths: tuple[str, ...]
    before: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a study, with the part that makes it; cells that an override leaves as they are have one part in common."""

    chain: str
    poison: str
    recovery: str
    model: str
    seed: int
    override: str
    part: Part
    configuration: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def recipe_hash(self) -> str:
        """The hash that names its scores."""
        return self.part.key.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All cells of a study, and every part by its key, those that others depend on first."""

    study: Study
    cells: tuple[Cell, ...]
    parts: dict[str, Part]

    def needed(self, complete: set[str]) -> dict[str, Part]:
        """Return the parts that are missing if those of ``complete`` exist: cells, and what they depend on."""
        needed = {cell.part.key for cell in self.cells} - complete
        for key in reversed(self.parts):  # a part comes after what it depends on
            if key in needed:
                needed |= set(self.parts[key].before) - complete
        return {key: part for key, part in self.parts.items() if key in needed}


def expand(study: Study, loaders: Mapping[str, RecipeConfigLoader], *, threads: int) -> Grid:
    """Return the grid of a study.

    Args:
        study: what it asks.
        loaders: of the configuration under each of its overrides.
        threads: of each run.

    Raises:
        InputError: one line that names the study and what is wrong: an unknown name, a wrong parameter.
    """
    parts: dict[str, Part] = {}
    try:
        cells = tuple(_cells(study, loaders, threads, parts))
    except InputError as error:
        raise InputError(f"study '{study.name}': {error}") from None
    return Grid(study=study, cells=cells, parts=parts)


def settings_of(study: Study, override: str, *, threads: int) -> Settings:
    """Return what the study says over the environment's parameters."""
    return merged({"threads": threads}, merged(study.parameters, study.overrides[override]))


def _cells(study: Study, loaders: Mapping[str, RecipeConfigLoader], threads: int, parts: dict[str, Part]) -> Iterator[Cell]:
    for override, chain in product(study.overrides, study.chains):
        recoveries = study.recoveries if chain == "recover" else ["none"]  # the other chains look at none
        settings = settings_of(study, override, threads=threads)
        for names in map(_named, product(study.poisons, recoveries, study.models, study.seeds)):
            configuration = loaders[override].cell(**names)
            check(configuration["parameters"])
            check_machine(configuration["parameters"])
            part = _part(chain, configuration, settings | names, override, parts)
            yield Cell(chain=chain, override=override, part=part, configuration=configuration["parameters"], **names)


def _part(chain: str, configuration: RecipeConfigLoader, settings: Settings, override: str, parts: dict[str, Part]) -> Part:
    """Return the part that makes a cell, put among ``parts`` after what it depends on."""
    stage, made, before = CHAINS[chain]
    shared = dict.fromkeys(_shared(each, configuration, settings, override, parts) for each in before)
    what = settings["recovery"] if chain == "recover" else chain
    part = Part(
        key=f"{chain}/{configuration['parameters']['recipe'][stage]}",
        label=_label(settings["poison"], what, settings["model"], f"seed {settings['seed']}", override),
        pipeline=chain,
        namespace=None,
        parameters=settings,
        paths=tuple(map(configuration.filepath, made)),
        before=tuple(shared),
    )
    return parts.setdefault(part.key, part)


def _named(values: tuple[Any, ...]) -> Settings:
    return dict(zip(CELL, values, strict=True))


def _shared(stage: str, configuration: RecipeConfigLoader, settings: Settings, override: str, parts: dict[str, Part]) -> str:
    """Put the part that makes ``stage``, and those that it depends on, among ``parts``; return its key."""
    parameters = configuration["parameters"]
    stage = made_by(stage, parameters)
    key = f"{stage}/{parameters['recipe'][stage]}"
    if key in parts:
        return key
    before = tuple(_shared(each, configuration, settings, override, parts) for each in BEFORE.get(stage, ()))
    pipeline, namespace, made = SHARED[stage]
    names = {"craft_poison": ("poison",), "train_clean": ("model", "seed"), "train_poisoned": ("poison", "model", "seed")}.get(stage, ())
    label = _label(stage.replace("_", " "), *(f"seed {settings[name]}" if name == "seed" else settings[name] for name in names), override)
    paths = tuple(map(configuration.filepath, made))
    parts[key] = Part(key=key, label=label, pipeline=pipeline, namespace=namespace, parameters=settings, paths=paths, before=before)
    return key


def _label(*words: str) -> str:
    return " ".join(filter(None, words))
