"""What may be set: a method's settings as its signature states them (names, types, ranges and published defaults), as plain data.

A poison is a function, a recovery or a recipe a dataclass; their keyword-only arguments are their settings. Whoever adds one states each
setting once, there, and the checks of the library and of the Kedro project read it.
"""

import inspect
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from unlearnable.errors import InputError
from unlearnable.ranges import Range
from unlearnable.register import nearest

GIVEN_BY_THE_RUN = ("seed", "device")  # arguments of recipes that are no settings of their own
TYPES = {int: "int", float: "float", bool: "bool", str: "str", NoneType: "none"}
EXPECTED = {
    "block": "a valid dictionary",
    "bool": "a valid boolean",
    "float": "a valid number",
    "int": "a valid integer",
    "label": "a name or a number",
    "list": "a valid list",
    "none": "None",
    "str": "a valid string",
}
IS: dict[str, Any] = {"bool": bool, "float": (int, float), "int": int, "label": (int, str), "none": NoneType, "str": str}
BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": ("greater than", operator.gt),
    "ge": ("greater than or equal to", operator.ge),
    "lt": ("less than", operator.lt),
    "le": ("less than or equal to", operator.le),
}
LARGEST = sys.float_info.max

Description = dict[str, Any]  # of a type: {"is": "int", "ge": 1, "default": 3}, {"is": "block", "fields": {…}}, …


def settings_of(function: Callable[..., Any]) -> Description:
    """Return the description of the keyword-only settings of ``function`` (or dataclass)."""
    described_ones = {
        name: described(parameter.annotation) | _default(function, parameter)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in GIVEN_BY_THE_RUN
    }
    return {"is": "block", "name": function.__name__, "fields": described_ones}


def _default(function: Callable[..., Any], parameter: inspect.Parameter) -> Description:
    """Return the default of a setting as plain data, or nothing where it has none."""
    made = {field.name: field.default_factory for field in (fields(function) if is_dataclass(function) else ())}
    factory = made.get(parameter.name, MISSING)
    default = factory() if factory is not MISSING else parameter.default
    if default is parameter.empty:
        return {}
    return {"default": asdict(default) if is_dataclass(default) and not isinstance(default, type) else default}


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


class Problem(NamedTuple):
    """What is wrong with a setting: where it stands, what came, and the line that says so."""

    path: tuple[str | int, ...]
    value: Any
    line: str


def require(name: str, block: Description, given: Mapping[str, Any]) -> None:
    """Raise InputError if ``given`` are no settings of a described block; one line names each that is wrong, under ``name``."""
    if wrong := list(problems(block, dict(given), tuple(name.split(".")))):
        raise InputError("; ".join(problem.line for problem in wrong))


def problems(kind: Description, value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Yield what is wrong with a value that is to be as described, and with all that is in it."""
    if kind["is"] == "any of":
        yield from _of_choice(kind, value, path)
    elif kind["is"] == "one of":
        if value not in kind["values"]:
            yield _unlike(_in_words(kind["values"]), value, path)
    elif not _is(kind["is"], value):
        yield _unlike(EXPECTED[kind["is"]], value, path)
    elif kind["is"] == "block":
        yield from _of_block(kind, value, path)
    elif kind["is"] == "list":
        yield from _of_list(kind, value, path)
    elif kind["is"] in ("int", "float"):
        yield from _of_number(kind, value, path)


def _is(word: str, value: Any) -> bool:
    if word in ("block", "list"):
        return isinstance(value, dict if word == "block" else list)
    return isinstance(value, IS[word]) and (word == "bool" or not isinstance(value, bool))


def _of_choice(kind: Description, value: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """Of several types: ``None`` or something else, or one of a kind or a list of them, which is checked as a list."""
    others = [each for each in kind["types"] if each["is"] != "none"]
    if value is None and len(others) < len(kind["types"]):
        return
    limits = {name: kind[name] for name in BOUNDS if name in kind}
    if len(others) == 1:
        yield from problems(others[0] | limits, value, path)
    else:
        [several] = [each for each in others if each["is"] == "list"]
        yield from problems(several, value if isinstance(value, list) else [value], path)


def _of_block(kind: Description, value: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[Problem]:
    known = kind["fields"]
    for name, field in known.items():
        if name in value:
            yield from problems(field, value[name], (*path, name))
        elif "default" not in field:
            yield Problem((*path, name), value, f"parameter '{_dotted((*path, name))}': expected a value, got none")
    for name in [each for each in value if each not in known]:
        told = f"unknown parameter '{_dotted((*path, name))}'; known: {', '.join(known)}{nearest(name, list(known))}"
        yield Problem((*path, name), value[name], told)


def _of_list(kind: Description, value: list[Any], path: tuple[str | int, ...]) -> Iterator[Problem]:
    if len(value) < kind.get("min_length", 0):
        yield _unlike(f"at least {kind['min_length']} item", value, path)
    for place, each in enumerate(value):
        yield from problems(kind["of"], each, (*path, place))


def _of_number(kind: Description, value: float, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if kind["is"] == "float" and not -LARGEST <= value <= LARGEST:
        yield _unlike("a finite number", value, path)
        return
    for name, (words, holds) in BOUNDS.items():
        if name in kind and not holds(value, kind[name]):
            yield _unlike(f"{words} {kind[name]}", value, path)
            return


def _unlike(expected: str, value: Any, path: tuple[str | int, ...]) -> Problem:
    return Problem(path, value, f"parameter '{_dotted(path)}': expected {expected}, got {value!r}")


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def _in_words(values: list[Any]) -> str:
    *others, last = map(repr, values)
    return f"{', '.join(others)} or {last}" if others else last


def defaults_of(block: Description) -> dict[str, Any]:
    """Return the defaults of a described block of settings, nested, as data of the caller's own."""
    return deepcopy({name: field["default"] for name, field in block["fields"].items() if "default" in field})


def filled_in(defaults: Any, given: Any) -> Any:
    """Return nested settings with the default of each that is not given; what is no block stays as it was given."""
    if not isinstance(defaults, dict) or not isinstance(given, dict):
        return given
    return defaults | {name: filled_in(defaults.get(name), value) for name, value in given.items()}


def nested(function: Callable[..., Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return ``settings`` of ``function`` with every block that its signature names as a dataclass made into one.

    What a block does not say is as in the default of ``function`` for it.
    """
    parameters = inspect.signature(function).parameters
    kinds = {name: parameters[name].annotation for name in settings if name in parameters}
    blocks = {name: settings[name] for name, kind in kinds.items() if is_dataclass(kind)}
    return settings | {name: _made(kinds[name], parameters[name].default, given) for name, given in blocks.items()}


def _made(kind: Any, default: Any, given: dict[str, Any]) -> Any:
    own = nested(kind, given)
    return replace(default, **own) if isinstance(default, kind) else kind(**own)
