"""How much the settings of a poison allow it to change an image, and whether it did not change more."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearnable.signatures import defaults_of, filled_in, settings_of

HALF = 0.5  # levels that rounding may add to each pixel
SLACK = 1e-3  # levels that rounding errors of floating-point sums may add


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much each image may change before it is rounded; None means no bound.

    Args:
        linf: the largest change of a value, in units of [0, 1].
        l2: the norm of the whole change, in units of [0, 1].
        pixels: how many pixels may change beyond these bounds, to any colour.
    """

    linf: float | None = None
    l2: float | None = None
    pixels: int = 0

    def excess(self, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> str | None:
        """Return in words how images (n, C, H, W) exceed this budget, with half a level allowed for rounding; None if they do not."""
        change = np.abs(after.astype(np.int16) - before)
        if self.linf is not None:
            most = _without_largest(change, self.pixels)
            if most.max() > self.linf * 255 + HALF + SLACK:
                but = f" except in {self.pixels} pixels" if self.pixels else ""
                return f"at most {self.linf * 255:.4g} levels (Linf){but}, got {most.max()}"
        if self.l2 is not None:
            largest = max(float(np.linalg.norm(each.astype(np.float64))) for each in change)
            if largest > self.l2 * 255 + HALF * np.sqrt(change[0].size) + SLACK:
                return f"at most {self.l2:.4g} (L2) and half a level for each value, got {largest / 255:.4g}"
        return None

    def at(self, times: float, pixels: int) -> "Budget":
        """Return the budget of a larger image: ``times`` the norm, and ``pixels`` pixels in place of each one."""
        return replace(self, l2=None if self.l2 is None else self.l2 * times, pixels=self.pixels * pixels)


def budget_of(poison: Callable[..., Any], settings: Mapping[str, Any], pixels: int | None) -> Budget:
    """Return the budget of a poison: its first setting named ``linf`` or ``l2``, nested ones included; without one, no bound.

    Args:
        poison: the function; its signature has the defaults of missing settings.
        settings: the given settings.
        pixels: how many pixels may take any colour. If there is no bound for the others, these are all that may change.
    """
    given = filled_in(defaults_of(settings_of(poison)), dict(settings))
    bound = dict(islice(_bounds(given), 1)) or ({} if pixels is None else {"linf": 0.0})
    return Budget(**bound, pixels=pixels or 0)


def _bounds(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the bounds in nested settings, the outer ones first."""
    yield from ((name, value) for name, value in settings.items() if name in ("linf", "l2"))
    for value in settings.values():
        if isinstance(value, Mapping):
            yield from _bounds(value)


def _without_largest(change: npt.NDArray[np.int16], pixels: int) -> npt.NDArray[np.int16]:
    """Return the largest change of a value in each image (n,), without the pixels that may take any colour."""
    of_pixels = change.max(1).reshape(len(change), -1)
    if pixels == 0:
        return np.asarray(of_pixels.max(1))
    if pixels >= of_pixels.shape[1]:
        return np.zeros(len(change), np.int16)
    found: npt.NDArray[np.int16] = np.partition(of_pixels, -pixels - 1, axis=1)[:, -pixels - 1]
    return found
