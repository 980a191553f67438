"""What a study asks: the YAML file ``conf/<env>/study/NAME.yml``."""

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unlearnable.errors import InputError
from unlearnable.register import nearest, unknown

AXES = ("poisons", "recoveries", "models", "seeds", "chains")
BASE = "base"

Names = Annotated[list[str], Field(min_length=1)]
Settings = dict[str, Any]


class Study(BaseModel):
    """A grid of cells.

    Args:
        name: of the file.
        description: what it asks, in a sentence or two.
        poisons, recoveries, models, seeds: the grid.
        chains: what is run for each cell: ``recover``; ``dfr``, ``separability`` and ``learnability`` look at no recovery, and are run once
            for all of them.
        parameters: of every cell, nested or dotted (``train.epochs``), over those of the environment.
        overrides: further axis: a label for each set of parameters that goes over ``parameters``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    description: str = ""
    poisons: Names
    recoveries: Names = ["none"]
    models: Names
    seeds: Annotated[list[int], Field(min_length=1)]
    chains: Annotated[list[Literal["recover", "dfr", "separability", "learnability"]], Field(min_length=1)] = ["recover"]
    parameters: Settings = {}
    overrides: Annotated[dict[str, Settings], Field(min_length=1)] = {"": {}}

    def settings(self, override: str) -> Settings:
        """Return what the study says over the environment's parameters."""
        return merged(self.parameters, self.overrides[override])


def study_file(name: str, env: str | None, conf: Path) -> Path:
    """Return the file of the study of that name: the environment's, else that of ``base``.

    Raises:
        InputError: neither has one; the message names the environments that have it, or the nearest name.
    """
    files = study_files(conf)
    for folder in (env or BASE, BASE):
        if name in files.get(folder, ()):
            return files[folder][name]
    others = [folder for folder, studies in files.items() if name in studies]
    if others:
        there = f"found it in: {', '.join(others)}; add --env={others[0]}"
        raise InputError(f"study '{name}': expected one of environment '{env or BASE}', {there}")
    raise unknown("study", name, sorted({known for folder in (env or BASE, BASE) for known in files.get(folder, ())}) or ["none"])


def study_files(conf: Path) -> dict[str, dict[str, Path]]:
    """Return the files of all studies, by environment and by name."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(conf.glob("*/study/*.yml")):
        found.setdefault(file.parents[1].name, {})[file.stem] = file
    return found


def read_study(file: Path) -> Study:
    """Return the study that ``file`` holds.

    Raises:
        InputError: one line that names the file, what was expected and what came.
    """
    try:
        found = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: expected YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: expected names with values, got {found!r}")
    try:
        study = Study.model_validate({**found, "name": file.stem})
    except ValidationError as error:
        raise InputError("; ".join(_line(file, problem) for problem in error.errors())) from None
    for axis in AXES:
        _require_once(file, axis, getattr(study, axis))
    _require_once(file, "overrides", [repr(nested(settings)) for settings in study.overrides.values()])
    overrides = {label: nested(settings) for label, settings in study.overrides.items()}
    return study.model_copy(update={"parameters": nested(study.parameters), "overrides": overrides})


def nested(settings: Settings) -> Settings:
    """Return settings with dotted names as nested ones."""
    found: Settings = {}
    for name, value in settings.items():
        first, _, rest = str(name).partition(".")
        inner = nested({rest: value}) if rest else nested(value) if isinstance(value, dict) else value
        found[first] = merged(found[first], inner) if isinstance(inner, dict) and isinstance(found.get(first), dict) else inner
    return found


def merged(settings: Settings, over: Settings) -> Settings:
    """Return nested settings with those of ``over`` over them."""
    return cast("Settings", OmegaConf.to_container(OmegaConf.merge(settings, over)))


def _require_once(file: Path, axis: str, values: Iterable[Hashable]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise InputError(f"{file}: '{axis}': expected each once, got {value} twice")
        seen.add(value)


def _line(file: Path, problem: Any) -> str:
    name, came = ".".join(str(part) for part in problem["loc"]), repr(problem["input"])
    known = list(Study.model_fields)[1:]
    if problem["type"] == "extra_forbidden":
        return f"{file}: unknown key '{name}'; known: {', '.join(known)}{nearest(name, known)}"
    kinds = {"missing": "a list of values", "too_short": "at least one"}
    expected = kinds.get(problem["type"], problem["msg"].removeprefix("Input should be "))
    return f"{file}: '{name}': expected {expected}, got {'none' if problem['type'] == 'missing' else came}"
