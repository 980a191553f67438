"""Autoregressive noise: Sandoval-Segura et al., "Autoregressive Perturbations for Data Poisoning" (NeurIPS 2022).

Every class owns an autoregressive process: in each channel a pixel is the weighted sum of the eight pixels above and to the
left of it in a 3x3 window. A signal starts as Gaussian noise and is swept row by row; its first four rows and columns,
in which the process has not settled, are dropped. The noise of each image starts from its own draw, so it is sample-wise, and no
linear rule tells the classes apart.

The coefficients are found by the published search: eight normal draws over their sum; accepted where no trial signal
diverges and the filters of the processes accepted before respond to it. That search had let a process of NaNs into the
published coefficients of 100 classes; here a trial signal must be finite.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, blank
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, required_by
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, POSITIVE_FRACTION
from unlearnable.seeds import numpy_generator

SETTLED = 4  # rows and columns dropped
TAPS = 8  # of the 3x3 window, in reading order; the ninth is the pixel itself
TRIALS = 3
SCREEN = 8  # rows of a first, short trial: nearly all processes diverge in it
SWEPT_AT_ONCE = 1024  # images
CANDIDATES = 512  # processes tried at once
LARGEST_FILE = 1 << 20  # bytes: coefficients of a thousand classes are a third of it

Signals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which processes are accepted.

    Args:
        largest_norm: of a trial signal before it is scaled.
        least_response: of the filters accepted before; None is what was published for 32-pixel images, 10 for up to 10
            classes and 3 for more, times the side of an image in units of 32 pixels.
        attempts: processes tried for each class before the search gives up.
    """

    largest_norm: Annotated[float, POSITIVE] = 50.0
    least_response: Annotated[float | None, NON_NEGATIVE] = None
    attempts: Annotated[int, AT_LEAST_ONE] = 100_000

    def response_for(self, clean: LabelledImages) -> float:
        """Return the least response; that of a signal of norm 1 grows with the side of the image."""
        _, height, width = clean.shape
        published = (10.0 if clean.num_classes <= 10 else 3.0) * math.sqrt(height * width) / 32
        return published if self.least_response is None else self.least_response


PUBLISHED = Search()


@POISONS.add("ar")
def ar(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    l2: Annotated[float, POSITIVE] = 1.0,
    search: Search = PUBLISHED,
    processes: str | None = None,
) -> Perturbation:
    """Return for each image a signal of its class's process with the norm ``l2`` in units of [0, 1] (published: 1).

    Args:
        clean: images (N, C, H, W).
        crafting: what every poison is given.
        l2: the norm.
        search: which processes are accepted where none are given.
        processes: a torch file with a list of coefficients (C, 3, 3), one a class, as the authors publish theirs; None searches.

    Raises:
        InputError: too few processes are found, or ``processes`` is no such file.
    """
    return _signals(clean, crafting, _processes(clean, crafting, search, processes), 2, l2)


@POISONS.add("ar_linf")
def ar_linf(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255,
    search: Search = PUBLISHED,
    processes: str | None = None,
) -> Perturbation:
    """Return what ``ar`` does, each signal scaled to the largest value ``linf`` in units of [0, 1]."""
    return _signals(clean, crafting, _processes(clean, crafting, search, processes), np.inf, linf)


@required_by("ar", "ar_linf")
def require_processes(clean: LabelledImages, processes: str | None = None, **others: object) -> None:  # noqa: ARG001
    """Raise InputError if ``processes`` names a file without processes for the classes of ``clean``."""
    if processes is not None:
        read_processes(Path(processes), clean)


def _processes(clean: LabelledImages, crafting: Crafting, search: Search, path: str | None) -> Signals:
    return find_processes(clean, crafting.seed, search) if path is None else read_processes(Path(path), clean)


def read_processes(path: Path, clean: LabelledImages) -> Signals:
    """Return the coefficients (K, C, 8) that a torch file has for the classes of ``clean``: a list of tensors (C, 3, 3).

    Raises:
        InputError: the file is something else, or a coefficient is not finite.
    """
    expected = f"processes ({path}): expected a list of {clean.num_classes} tensors ({clean.shape[0]}, 3, 3), one a class"
    try:
        size = path.stat().st_size
        found = torch.load(path, weights_only=True) if size <= LARGEST_FILE else None  # runs nothing of the file  # noqa: TID251
    except Exception as error:  # damaged bytes lead torch's reader to errors of any kind
        raise InputError(f"{expected}, got {' '.join(str(error).split())[:200]}") from None
    if found is None:
        raise InputError(f"{expected}, got a file of {size:,} bytes")
    if not isinstance(found, list) or not all(isinstance(each, torch.Tensor) for each in found):
        raise InputError(f"{expected}, got {type(found).__name__}")
    shapes = {tuple(each.shape) for each in found}
    if len(found) != clean.num_classes or shapes != {(clean.shape[0], 3, 3)}:
        raise InputError(f"{expected}, got {len(found)} of {', '.join(map(str, sorted(shapes)))}")
    coefficients = torch.stack(found).double().flatten(2).numpy()[..., :TAPS]
    if wrong := (~np.isfinite(coefficients).all((1, 2))).nonzero()[0].tolist():
        raise InputError(f"{expected}, got numbers that are not finite for class {wrong[0]}")
    return coefficients


def find_processes(clean: LabelledImages, seed: int, search: Search) -> Signals:
    """Return coefficients (K, C, 8), summing to one over the last axis, of one process a class of ``clean``.

    Raises:
        InputError: the attempts give too few.
    """
    rng = numpy_generator(seed, "poison/ar/processes")
    least_response = search.response_for(clean)
    accepted: list[Signals] = []
    for _ in range(0, search.attempts * clean.num_classes, CANDIDATES):
        for coefficients, signal in _stable(clean.shape, search.largest_norm, rng):
            if all(response(other, signal) >= least_response for other in accepted):
                accepted.append(coefficients)
            if len(accepted) == clean.num_classes:
                return np.stack(accepted)
    wanted = f"{clean.num_classes} processes in {search.attempts} attempts for each"
    raise InputError(f"poison 'ar': expected {wanted} with least_response {least_response:g}, got {len(accepted)}")


def _stable(shape: tuple[int, int, int], largest_norm: float, rng: np.random.Generator) -> list[tuple[Signals, Signals]]:
    """Return those of some random processes whose trial signals are finite and small, each with its last one, of norm 1."""
    drawn = rng.standard_normal((CANDIDATES, shape[0], TAPS))
    coefficients = drawn / drawn.sum(-1, keepdims=True)
    channels, height, width = shape
    for rows in (min(SCREEN, height), *[height] * TRIALS):
        signals = _sweep(coefficients, (channels, rows, width), rng)
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(signals.reshape(len(signals), channels * rows * width), axis=1)
        small = norms <= largest_norm  # not so for NaN
        coefficients, signals, norms = coefficients[small], signals[small], norms[small]
    return list(zip(coefficients, signals / norms[:, None, None, None], strict=True))


def response(coefficients: Signals, signal: Signals) -> float:
    """Return the sum of the positive answers of a process's filter (C, 8) to ``signal`` (C, H, W); 0 to one of its own."""
    _, height, width = signal.shape
    answer = -signal[:, 2:, 2:].sum(0)
    for tap in range(TAPS):
        y, x = divmod(tap, 3)
        answer += np.tensordot(coefficients[:, tap], signal[:, y : y + height - 2, x : x + width - 2], axes=1)
    return float(np.maximum(answer, 0).sum())


def _signals(clean: LabelledImages, crafting: Crafting, processes: Signals, order: float, size: float) -> Perturbation:
    """Return a signal for each image, its norm of that order being ``size``."""
    rng = numpy_generator(crafting.seed, "poison/ar/signals")
    perturbation = blank(clean.images.shape, np.float32)
    for start in range(0, len(clean), SWEPT_AT_ONCE):
        labels = clean.labels[start : start + SWEPT_AT_ONCE]
        signals = _sweep(processes[labels], clean.shape, rng)
        norms = np.linalg.norm(signals.reshape(len(labels), -1), ord=order, axis=1)
        perturbation[start : start + SWEPT_AT_ONCE] = signals * (size / norms)[:, None, None, None]
        crafting.progress(start + len(labels), len(clean))
    return perturbation


def _sweep(coefficients: Signals, shape: tuple[int, int, int], rng: np.random.Generator) -> Signals:
    """Return one signal (N, C, H, W) of each process (N, C, 8), started from Gaussian noise."""
    channels, height, width = shape
    taps = np.ascontiguousarray(coefficients.transpose(2, 1, 0))
    field = rng.standard_normal((height + SETTLED, width + SETTLED, channels, len(coefficients)))
    swept = width + SETTLED - 2
    with np.errstate(over="ignore", invalid="ignore"):  # of a process that diverges; the search leaves it out
        for y in range(height + SETTLED - 2):
            row = field[y + 2]
            above: Signals = sum(taps[3 * dy + dx] * field[y + dy, dx : dx + swept] for dy in (0, 1) for dx in (0, 1, 2))
            for x in range(swept):
                row[x + 2] = above[x] + taps[6] * row[x] + taps[7] * row[x + 1]
    return field[SETTLED:, SETTLED:].transpose(3, 2, 0, 1)
