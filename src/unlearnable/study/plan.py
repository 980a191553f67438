"""A study beside the project that it is run in: its grid, and what of it is there."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kedro.framework.project import settings

from unlearnable.artifacts.storage import Storage, is_there
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.study.cells import Cell, Grid, expand
from unlearnable.study.definition import read_study, study_file
from unlearnable.study.journal import FOLDER, Noted, noted

LAYERS = ("data/03_primary", "data/05_model_input", "data/06_models", "data/08_reporting")  # that hold what parts make


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study in its project.

    Args:
        project: the project's folder.
        env: Kedro's environment; None is its default.
        grid: of the study.
        loader: of the environment's configuration.
    """

    project: Path
    env: str | None
    grid: Grid
    loader: RecipeConfigLoader

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.grid.study.name

    @property
    def journal(self) -> Path:
        """The folder of its journals."""
        return self.project / FOLDER / self.name

    @cached_property
    def storage(self) -> Storage | None:
        """Where artifacts are shared, if anywhere."""
        return Storage.of(self.loader["storage"], self.project, self.loader.credentials())

    def complete(self) -> set[str]:
        """Return the keys of the parts that are there: in the storage, if there is one, else on this disk."""
        there = self.storage.index(LAYERS) if self.storage else None

        def found(path: str) -> bool:
            return is_there(self.project / path) if there is None else path in there

        return {key for key, part in self.grid.parts.items() if all(map(found, part.paths.values()))}

    def states(self, complete: set[str], said: Noted) -> dict[str, str]:
        """Return the state of each cell's part: done, running, failed or waiting."""
        return {cell.key: _state(cell, complete, said) for cell in self.grid.cells}

    def noted(self) -> Noted:
        """Return what the journals say."""
        return noted(self.journal)

    def fetch(self, paths: Iterable[str]) -> None:
        """Fetch artifacts that are in the storage and not here."""
        for path in paths if self.storage else ():
            if not is_there(self.project / path):
                self.storage.share(self.project / path)  # type: ignore[union-attr]


def plan(name: str, *, project: Path, env: str | None) -> Plan:
    """Return the plan of the study of that name.

    Raises:
        InputError: one line: no such study, or what is wrong in it.
    """
    study = read_study(study_file(name, env, project / settings.CONF_SOURCE))
    loaders = {override: _loader(project, env, study.settings(override)) for override in study.overrides}
    return Plan(project=project, env=env, grid=expand(study, loaders), loader=_loader(project, env, {}))


def _loader(project: Path, env: str | None, parameters: dict[str, Any]) -> RecipeConfigLoader:
    loader = RecipeConfigLoader(str(project / settings.CONF_SOURCE), env=env, runtime_params=parameters, **settings.CONFIG_LOADER_ARGS)
    loader.project_path = project
    return loader


def _state(cell: Cell, complete: set[str], said: Noted) -> str:
    key = cell.key
    if key in complete:
        return "done"
    return "running" if key in said.running else "failed" if key in said.failed else "waiting"
