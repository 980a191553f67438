"""Ranges of settings, written beside the type: ``l2: Annotated[float, POSITIVE]``.

A recipe states its settings once, in the signature of the function or dataclass that takes them; the parameter check of
the Kedro floor reads names, types, defaults and these ranges from there.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number; ``None`` leaves that side open."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None


POSITIVE = Range(gt=0)
NON_NEGATIVE = Range(ge=0)
AT_LEAST_ONE = Range(ge=1)
FRACTION = Range(ge=0, le=1)
POSITIVE_FRACTION = Range(gt=0, le=1)
