"""Ranges of settings, written beside the type in a signature: ``l2: Annotated[float, POSITIVE]``."""

from dataclasses import dataclass


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
