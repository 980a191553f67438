"""What may be set: names of poisons, recoveries and networks, and the types and ranges of their settings, as plain data.

They are read from the signatures of the functions and dataclasses that take them, so a new poison brings its own check along. To read
them imports torch, which takes seconds, and a misspelt name is to be told at once. So what was read is kept beside the compiled modules,
as they are: under the hash of the sources, and read anew where a source has changed.
"""

import hashlib
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from unlearnable.ranges import Range

GIVEN_BY_THE_RUN = ("seed", "device")  # arguments of recipes that are no settings of their own
PACKAGE = Path(__file__).parents[1]
READ_FROM = ("config/settings.py", "poisons", "probes", "ranges.py", "recoveries", "models", "training")  # in the package
TYPES = {int: "int", float: "float", bool: "bool", str: "str", NoneType: "none"}

Description = dict[str, Any]  # of a type: {"is": "int", "ge": 1}, {"is": "block", "fields": {…}}, …


@cache
def settings() -> Description:
    """Return what may be set: ``poisons`` and ``recoveries`` by name, names of ``models`` and ``estimators``, and three blocks.

    ``packages`` says where each poison, recovery and network comes from.
    """
    kept = _kept_at()
    with suppress(OSError, ValueError):
        return json.loads(kept.read_text())  # type: ignore[no-any-return]
    found = read()
    with suppress(OSError):  # an installation that may not be written
        _keep(found, kept)
    return found


def read() -> Description:
    """Return what ``settings`` returns, read from the signatures."""
    from unlearnable.models import MODELS
    from unlearnable.poisons import POISONS
    from unlearnable.probes import ESTIMATORS, ReweightingRecipe, SeparabilityRecipe
    from unlearnable.recoveries import RECOVERIES
    from unlearnable.training import TrainingRecipe

    return {
        "poisons": _blocks(POISONS),
        "recoveries": _blocks(RECOVERIES),
        "models": list(MODELS),
        "packages": {name: package_of(thing) for register in (POISONS, RECOVERIES, MODELS) for name, thing in register.items()},
        "estimators": list(ESTIMATORS),
        "train": settings_of(TrainingRecipe),
        "probe": settings_of(ReweightingRecipe),
        "separability": settings_of(SeparabilityRecipe),
    }


def _blocks(register: Mapping[str, Callable[..., Any]]) -> Description:
    return {name: settings_of(function) for name, function in register.items()}


def package_of(thing: Callable[..., Any]) -> str:
    """Return the name of the package that a poison, a recovery or a network comes from."""
    return str(getattr(thing, "func", thing).__module__).partition(".")[0]


def settings_of(function: Callable[..., Any]) -> Description:
    """Return the description of the keyword-only settings of ``function`` (or dataclass)."""
    fields = {
        name: described(parameter.annotation) | {"required": parameter.default is parameter.empty}
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in GIVEN_BY_THE_RUN
    }
    return {"is": "block", "name": function.__name__, "fields": fields}


def described(annotation: Any) -> Description:
    """Return the description of a type.

    Raises:
        TypeError: it is of a kind that no setting has had so far.
    """
    if is_dataclass(annotation):
        return settings_of(annotation)  # type: ignore[arg-type]
    if annotation in TYPES:
        return {"is": TYPES[annotation]}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return described(arguments[0]) | {
            limit: value for note in arguments[1:] if isinstance(note, Range) for limit, value in asdict(note).items() if value is not None
        }
    if origin is Literal:
        return {"is": "one of", "values": list(arguments)}
    if origin is list:
        return {"is": "list", "of": described(arguments[0])}
    if origin in (Union, UnionType):
        return {"is": "any of", "types": [described(choice) for choice in arguments]}
    raise TypeError(f"settings: expected a type that can be checked, got {annotation!r}")


# ---- what was read is kept


def _kept_at() -> Path:
    """Return the file that holds what was read from the sources as they are."""
    sources = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in _sources():
        sources.update(str(path.relative_to(PACKAGE)).encode() + path.read_bytes())
    return Path(cache_from_source(__file__)).with_name(f"settings-{sources.hexdigest()[:16]}.json")


def _sources() -> Iterator[Path]:
    for name in READ_FROM:
        yield from sorted((PACKAGE / name).rglob("*.py")) if (PACKAGE / name).is_dir() else [PACKAGE / name]


def _keep(found: Description, path: Path) -> None:
    """Write what was read, whole or not at all, and remove what was read from other sources."""
    path.parent.mkdir(exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        json.dump(found, file)
    Path(temporary).replace(path)
    for other in path.parent.glob("settings-*.json"):
        if other != path:
            other.unlink(missing_ok=True)


if __name__ == "__main__":
    settings()
