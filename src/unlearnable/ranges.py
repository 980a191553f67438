"""Ranges of settings, written beside the type: ``l2: Annotated[float, POSITIVE]``.

A recipe states its settings once, in the signature of the function or dataclass that takes them; the parameter check of
the Kedro floor reads names, types, defaults and these ranges from there.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number, or of a list's length; ``None`` leaves that side open."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    min_length: int | None = None


POSITIVE = Range(gt=0)
NON_NEGATIVE = Range(ge=0)
AT_LEAST_ONE = Range(ge=1)
NOT_EMPTY = Range(min_length=1)
FRACTION = Range(ge=0, le=1)
POSITIVE_FRACTION = Range(gt=0, le=1)


def nested(function: Callable[..., Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return ``settings`` of ``function`` with every block that its signature names as a dataclass made into one."""
    kinds = {name: parameter.annotation for name, parameter in inspect.signature(function).parameters.items()}
    made = {name: kinds[name](**nested(kinds[name], value)) for name, value in settings.items() if is_dataclass(kinds.get(name))}
    return settings | made
