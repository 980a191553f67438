"""Plug-ins: poisons, recoveries, networks and sources of images from other installed packages.

A package declares each one as an entry point. Loading it imports a module that registers the name, as our own modules do:

    [project.entry-points."unlearnable.poisons"]
    stripes = "unlearnable_stripes"

The other groups are ``unlearnable.recoveries``, ``unlearnable.models`` and ``unlearnable.sources``. A source is ``module:Class``: a
dataset class that a catalog entry may then use as its type. A group's modules are imported only when that group is needed.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unlearnable.register import Register

PREFIX = "unlearnable."
SOURCES = "sources"
GROUPS = ("poisons", "recoveries", "models", SOURCES)
DIGITS = 8  # how much of the hash of a package's sources is kept, in hexadecimal digits


@cache
def installed() -> tuple[EntryPoint, ...]:
    """Return the entry points of all groups, sorted by group and name; nothing is imported."""
    found = [point for group in GROUPS for point in entry_points(group=PREFIX + group)]
    return tuple(sorted(found, key=lambda point: (point.group, point.name, package_of(point))))


def package_of(point: EntryPoint) -> str:
    """Return the name of the package that an entry point belongs to."""
    return point.dist.name if point.dist else point.module.partition(".")[0]


def load(register: Register[Any], group: str) -> None:
    """Import every plug-in of a group. One that fails is left out of the register, which keeps the reason."""
    for point in installed():
        if point.group == PREFIX + group:
            _load(register, point)


def _load(register: Register[Any], point: EntryPoint) -> None:
    before, state = set(register), register.snapshot()
    try:
        if point.name in before and register.packages.get(point.name) != package_of(point):
            raise ValueError(f"{register.kind} '{point.name}' already exists")
        point.load()
        if point.name not in register:
            raise ValueError(f"{point.module} registers no {register.kind} '{point.name}'")
    except (Exception, SystemExit) as error:  # a plug-in may raise anything
        register.restore(state)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        register.broken[point.name] = f"'{point.name}' of the plug-in {package_of(point)} is left out ({reason})"
    else:
        register.packages |= {name: package_of(point) for name in register if name not in before}


@cache
def identity(package: str) -> str:
    """Return the version of an installed package. A plug-in's has a hash of its sources too: authors edit those before the version."""
    modules = {point.module.partition(".")[0] for point in installed() if package_of(point) == package}
    if not modules:
        return version(package)
    total = hashlib.sha256()
    for path in (path for module in sorted(modules) for path in _sources(module)):
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{version(package)} {total.hexdigest()[:DIGITS]}"


def identities() -> dict[str, str]:
    """Return the identity of the package of each plug-in, by the plug-in's entry point."""
    return {f"{package_of(point)} {point.group} {point.name}={point.value}": identity(package_of(point)) for point in installed()}


def source(kind: str) -> str:
    """Return the class (``module.Class``) of a source that a package declares under this name; any other type is returned unchanged."""
    found = {point.name: f"{point.module}.{point.attr}" for point in installed() if point.group == PREFIX + SOURCES}
    return found.get(kind, kind)


def package_of_class(kind: str) -> str | None:
    """Return the package that declares this class as a source, or None."""
    named = (point for point in installed() if point.group == PREFIX + SOURCES)
    return next((package_of(point) for point in named if f"{point.module}.{point.attr}" == kind), None)


def _sources(module: str) -> Iterator[Path]:
    """Yield the Python files of a top-level module, sorted by name; nothing if the module does not exist."""
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        yield from sorted(path for place in spec.submodule_search_locations for path in Path(place).rglob("*.py"))
    elif spec is not None and spec.origin:
        yield Path(spec.origin)
