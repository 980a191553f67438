"""What may be set: a method's settings as its signature states them (names, types, ranges and published defaults), as plain data.

A poison is a function, a recovery or a recipe a dataclass; their keyword-only arguments are their settings. Whoever adds one states each
setting once, there, and the checks of the library and of the Kedro project read it.
"""

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from unlearnable.ranges import Range

GIVEN_BY_THE_RUN = ("seed", "device")  # arguments of recipes that are no settings of their own
TYPES = {int: "int", float: "float", bool: "bool", str: "str", NoneType: "none"}

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
