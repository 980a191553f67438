"""What may be set: names of poisons, recoveries and networks, and the types, ranges and defaults of their settings, as plain data.

They are read from the signatures of the functions and dataclasses that take them, so a new poison brings its own check along. To read
them imports torch, which takes seconds, and a misspelt name must be reported at once. So what was read is kept beside the compiled modules,
as they are: under the hash of the sources, and read again after a source has changed.
"""

import hashlib
import inspect
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from unlearnable import plugins
from unlearnable.register import Register
from unlearnable.signatures import Description, defaults_of, settings_of

YEAR = re.compile(r"\b(?:19|20)\d\d\b")  # of what is cited
PACKAGE = Path(__file__).parents[1]
READ_FROM = ("config/settings.py", "models", "poisons", "probes", "ranges.py", "recoveries", "signatures.py", "training")  # in the package


@cache
def settings() -> Description:
    """Return what may be set: ``poisons`` and ``recoveries`` by name, names of ``models`` and ``estimators``, and four blocks.

    ``packages`` says where each poison, recovery and network comes from, ``about`` what it is, and ``broken`` why plug-ins are left out.
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
    from unlearnable.poisons import POISONS, is_made_at_any_size
    from unlearnable.probes import ESTIMATORS, LearnabilityRecipe, ReweightingRecipe, SeparabilityRecipe
    from unlearnable.recoveries import RECOVERIES
    from unlearnable.training import TrainingRecipe

    registers: dict[str, Register[Any]] = {"poisons": POISONS, "recoveries": RECOVERIES, "models": MODELS}
    every = [(register, name, thing) for register in registers.values() for name, thing in register.items()]
    return {
        "poisons": _blocks(POISONS),
        "recoveries": _blocks(RECOVERIES),
        "models": list(MODELS),
        "packages": {name: register.packages.get(name) or package_of(thing) for register, name, thing in every},
        "about": {kind: {name: about(thing) for name, thing in register.items()} for kind, register in registers.items()},
        "made_at_any_size": list(filter(is_made_at_any_size, POISONS)),
        "broken": {kind: register.broken for kind, register in registers.items()},
        "estimators": list(ESTIMATORS),
        "train": settings_of(TrainingRecipe),
        "probe": settings_of(ReweightingRecipe),
        "separability": settings_of(SeparabilityRecipe),
        "learnability": settings_of(LearnabilityRecipe),
    }


@cache
def surrogates() -> dict[str, str]:
    """Return the parameter that has the surrogate of each poison, by the name of the poison."""
    return {name: f"craft.{name}.surrogate" for name, block in settings()["poisons"].items() if "surrogate" in block["fields"]}


def defaults() -> dict[str, Any]:
    """Return the published default of every setting that a signature has one for, in the blocks of the parameters."""
    known = settings()
    named = {"craft": known["poisons"], "recover": known["recoveries"]}
    of_each = {block: {name: defaults_of(one) for name, one in blocks.items()} for block, blocks in named.items()}
    return of_each | {block: defaults_of(known[block]) for block in ("train", "probe", "separability", "learnability")}


def _blocks(register: Mapping[str, Callable[..., Any]]) -> Description:
    return {name: settings_of(function) for name, function in register.items()}


def package_of(thing: Callable[..., Any]) -> str:
    """Return the name of the package that a poison, a recovery or a network comes from."""
    return str(getattr(thing, "func", thing).__module__).partition(".")[0]


def about(thing: Callable[..., Any]) -> dict[str, str]:
    """Return what a poison, a recovery or a network does and where it is from, as its docstrings say, and what it needs."""
    from unlearnable.models.networks import SOURCES

    function: Any = getattr(thing, "func", thing)
    first, *others = _paragraphs(inspect.getdoc(sys.modules[function.__module__]))
    cited = [paragraph for paragraph in (first, *others) if YEAR.search(paragraph)]
    source = SOURCES.get(function) or " ".join(cited) or first
    return {"does": _paragraphs(inspect.getdoc(function))[0], "source": source, "needs": _needs(function)}


def _needs(thing: Any) -> str:
    """Return in words what a method needs beside the images and their labels; empty where that is nothing."""
    if needs := getattr(thing, "needs", None):
        asked = thing().needs if isinstance(needs, property) else needs
        return str(asked.in_words())
    settings = inspect.signature(thing).parameters
    return "a network, which it trains" if "surrogate" in settings else ""


def _paragraphs(text: str | None) -> list[str]:
    """Return the paragraphs of a docstring, each as one line."""
    return [" ".join(paragraph.replace("``", "`").split()) for paragraph in (text or "").split("\n\n")]


def left_out() -> list[str]:
    """Return a line for each plug-in that could not be loaded."""
    return [line for lines in settings()["broken"].values() for line in lines.values()]


# ---- what was read is kept


def _kept_at() -> Path:
    """Return the file that holds what was read from the sources as they are."""
    sources = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    sources.update(json.dumps(plugins.identities(), sort_keys=True).encode())
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
