"""How much a poison may change an image, as its settings say it, and whether it has kept to that."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearnable.signatures import defaults_of, filled_in, settings_of

HALF = 0.5  # of a level: what rounding may add to each pixel
SLACK = 1e-3  # levels, for sums in floating point


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that each image may change, before it is rounded; None sets no bound.

    Args:
        linf: the largest change of a value, in units of [0, 1].
        l2: the norm of the whole change, in units of [0, 1].
        pixels: how many pixels may change beyond that, to any colour.
    """

    linf: float | None = None
    l2: float | None = None
    pixels: int = 0

    def excess(self, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> str | None:
        """Return in words what images (n, C, H, W) have changed beyond this, and half a level for rounding; None where they have not."""
        change = np.abs(after.astype(np.int16) - before)
        if self.linf is not None:
            most = _without_largest(change, self.pixels)
            if most.max() > self.linf * 255 + HALF + SLACK:
                but = f" but for {self.pixels} pixels" if self.pixels else ""
                return f"at most {self.linf * 255:.4g} levels (Linf){but}, got {most.max()}"
        if self.l2 is not None:
            largest = max(float(np.linalg.norm(each.astype(np.float64))) for each in change)
            if largest > self.l2 * 255 + HALF * np.sqrt(change[0].size) + SLACK:
                return f"at most {self.l2:.4g} (L2) and half a level for each value, got {largest / 255:.4g}"
        return None

    def at(self, times: float, pixels: int) -> "Budget":
        """Return the budget of a larger image, of ``times`` the norm, in which a pixel has become so many."""
        return replace(self, l2=None if self.l2 is None else self.l2 * times, pixels=self.pixels * pixels)


def budget_of(poison: Callable[..., Any], settings: Mapping[str, Any], pixels: int | None) -> Budget:
    """Return the budget of a poison: its first setting called ``linf`` or ``l2``, also in a block; no bound where none is.

    Args:
        poison: the function, whose signature has the settings that are not given.
        settings: as given.
        pixels: how many it may turn into any colour. Without a bound for the others, they are all that it may change.
    """
    given = filled_in(defaults_of(settings_of(poison)), dict(settings))
    bound = dict(islice(_bounds(given), 1)) or ({} if pixels is None else {"linf": 0.0})
    return Budget(**bound, pixels=pixels or 0)


def _bounds(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield bounds in nested settings, the outer ones first."""
    yield from ((name, value) for name, value in settings.items() if name in ("linf", "l2"))
    for value in settings.values():
        if isinstance(value, Mapping):
            yield from _bounds(value)


def _without_largest(change: npt.NDArray[np.int16], pixels: int) -> npt.NDArray[np.int16]:
    """Return the largest change of a value of each image (n,), leaving out as many pixels as may be of any colour."""
    of_pixels = change.max(1).reshape(len(change), -1)
    if pixels == 0:
        return np.asarray(of_pixels.max(1))
    if pixels >= of_pixels.shape[1]:
        return np.zeros(len(change), np.int16)
    found: npt.NDArray[np.int16] = np.partition(of_pixels, -pixels - 1, axis=1)[:, -pixels - 1]
    return found
