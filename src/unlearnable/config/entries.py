"""Checks of what the entries of a catalog say, before any is made."""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

from kedro.io import AbstractDataset

from unlearnable.errors import InputError
from unlearnable.register import nearest

OURS = "unlearnable."
OLD_ROOM = "unlearnable.datasets."
ARTIFACTS = ("checkpoints", "copies", "protection", "reports", "tensors")  # modules of our own files; the others are where images come from
NEAR = 0.75  # how like a key must be to be taken for a missing one: 'path' is not meant for 'filepath'
OF_KEDRO = ("type", "versioned")  # keys that it takes itself, of every entry


def at_its_new_name(kind: str) -> str:
    """Return the name of a class of ours that a catalog names by its old room, ``unlearnable.datasets``; any other name as it is."""
    module = kind.removeprefix(OLD_ROOM)
    if module == kind:
        return kind
    return f"{OURS}{'artifacts' if module.partition('.')[0] in ARTIFACTS else 'sources'}.{module}"


def require_keys(catalog: Mapping[str, Any]) -> None:
    """Check that each entry of one of our classes has the keys that the class needs and no others.

    Raises:
        InputError: one line that names the entry, the key and the nearest known one.
    """
    for name, entry in catalog.items():
        if not isinstance(entry, Mapping):
            raise InputError(f"catalog entry '{name}': expected a mapping, got {entry!r}")
        if "type" not in entry:
            raise missing(name, "type", entry)
        if str(entry["type"]).startswith(OURS):
            _check(name, entry, _arguments(_class_of(name, str(entry["type"]))))


def missing(name: str, key: str, entry: Mapping[str, Any]) -> InputError:
    """Return the error that an entry lacks a key; it names the most similar key."""
    close = get_close_matches(key, list(entry), n=1, cutoff=NEAR)
    return InputError(f"catalog entry '{name}': expected '{key}', got {repr(close[0]) if close else 'none'}")


def _check(name: str, entry: Mapping[str, Any], known: dict[str, bool]) -> None:
    for key in entry:
        if key not in known:
            raise InputError(f"catalog entry '{name}': unknown key '{key}'; known: {', '.join(known)}{nearest(key, list(known))}")
    for key, is_required in known.items():
        if is_required and key not in entry:
            raise missing(name, key, entry)


def _class_of(name: str, kind: str) -> type:
    module, _, found = kind.rpartition(".")
    expected = f"catalog entry '{name}': expected a class of datasets as type, got '{kind}'"
    try:
        there = vars(import_module(module))
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):
            raise  # one that the module itself imports
        raise InputError(f"{expected}: there is no module '{module}'") from None
    known = [each for each, thing in there.items() if inspect.isclass(thing) and issubclass(thing, AbstractDataset)]
    if found not in known:
        raise InputError(f"{expected}{nearest(found, known)}")
    return there[found]  # type: ignore[no-any-return]


@cache
def _arguments(kind: type) -> dict[str, bool]:
    """Return the arguments of a class by name, and whether each is required; those that it passes on are its base's."""
    found = dict.fromkeys(OF_KEDRO, False)
    for each in kind.__mro__:
        given = inspect.signature(vars(each)["__init__"]).parameters.values() if "__init__" in vars(each) else []
        found |= {one.name: one.default is one.empty for one in given if one.kind is one.KEYWORD_ONLY and one.name != "version"}
        if given and all(one.kind is not one.VAR_KEYWORD for one in given):
            break
    return found
