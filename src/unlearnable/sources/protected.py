"""Whether a protected copy really is one of its original."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import CHUNK, LabelledImages
from unlearnable.sources.foreign import FAR
from unlearnable.sources.names import shown

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
NEAR = 0.04  # mean absolute difference, in units of [0, 1]: a copy within it is asked nothing more; 10 levels
TIMES_NEARER = 2  # a copy that is so much nearer to another original is none of its own
ENOUGH, LEAST_KEPT = 10, 0.25  # copies of a class that are judged together, and how much of their originals must be in them
THUMBNAIL = 8  # pixels
BLOCK = 256  # copies that are compared with all originals at once


def require_own(copies: LabelledImages, clean: LabelledImages, places: Indices, files: list[Path]) -> None:
    """Raise InputError if a copy is far from its original, at ``places`` of the clean images, or much nearer to another."""
    difference = np.concatenate(list(_differences(copies, clean, places)))
    worst = int(difference.argmax())
    if difference[worst] > FAR:
        expected = f"a copy of its original, with a mean absolute difference of at most {FAR:g}, got {difference[worst]:.4g}"
        raise InputError(f"raw_images: {shown(files[worst])}: expected {expected}: is it a copy of another image?")
    suspects = np.flatnonzero(difference > NEAR)
    if len(suspects):
        _require_nearest(suspects, copies, clean, places, files)
        _require_alike(suspects, copies, clean, places, files)


def _require_nearest(suspects: Indices, copies: LabelledImages, clean: LabelledImages, places: Indices, files: list[Path]) -> None:
    """Raise InputError if a copy is much nearer to another original than to its own."""
    wrong = list(_nearer_to_others(suspects, copies, clean, places))
    if wrong:
        known = {int(place): file for place, file in zip(places, files, strict=True)}
        suspect, other = wrong[0]
        of = f"of that of {shown(known[other])}" if other in known else f"of another, of class {clean.called(int(clean.labels[other]))}"
        more = f", and {len(wrong) - 1} more like this" if len(wrong) > 1 else ""
        raise InputError(f"raw_images: {shown(files[suspect])}: expected a copy of its original, got one {of}{more}")


def _require_alike(suspects: Indices, copies: LabelledImages, clean: LabelledImages, places: Indices, files: list[Path]) -> None:
    """Raise InputError if the copies of a class have nothing of their originals: they may be of images that are not there at all."""
    labels = clean.labels[places[suspects]]
    for label in np.unique(labels):
        some = suspects[labels == label]
        members = np.flatnonzero(clean.labels == label)
        others = members[(np.searchsorted(members, places[some]) + 1) % len(members)]
        if len(some) >= ENOUGH and _kept(copies.images[some], clean.images[places[some]], clean.images[others]) < LEAST_KEPT:
            expected = "expected copies of its originals, got images that are as near to others"
            raise InputError(f"raw_images: class {clean.called(int(label))}: {expected}; the first is {shown(files[some[0]])}")


def _kept(copies: Pixels, originals: Pixels, others: Pixels) -> float:
    """Return how much of the differences among originals is left among copies: 1 if all are changed alike or at random, else less."""
    gain = apart = 0.0
    for copy, own, other in zip(copies, originals, others, strict=True):
        gain += _squared(copy, other) - _squared(copy, own)
        apart += _squared(own, other)
    return gain / apart if apart else 1.0


def _squared(one: Pixels, other: Pixels) -> float:
    return float(((one.astype(np.float32) - other) ** 2).sum())


def _differences(copies: LabelledImages, clean: LabelledImages, places: Indices) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the mean absolute difference (n,) of copies and originals, in units of [0, 1]."""
    for start in range(0, len(copies), CHUNK):
        difference = copies.images[start : start + CHUNK].astype(np.int16) - clean.images[places[start : start + CHUNK]]
        yield np.abs(difference).reshape(len(difference), -1).mean(1) / 255


def _nearer_to_others(suspects: Indices, copies: LabelledImages, clean: LabelledImages, places: Indices) -> Iterator[tuple[int, int]]:
    """Yield each suspect that is much nearer to another original than to its own, and the place of that one, as thumbnails show it."""
    originals = np.concatenate([_thumbnails(clean.images[start : start + CHUNK]) for start in range(0, len(clean), CHUNK)])
    squares = (originals**2).sum(1)
    for start in range(0, len(suspects), BLOCK):
        some = suspects[start : start + BLOCK]
        seen = _thumbnails(copies.images[some])
        distances = squares - 2 * seen @ originals.T + (seen**2).sum(1)[:, None]  # squared, (n, N)
        rows = np.arange(len(some))
        own = distances[rows, places[some]].copy()
        distances[rows, places[some]] = np.inf
        other = distances.argmin(1)
        for row in np.flatnonzero(TIMES_NEARER**2 * distances[rows, other] < own):
            yield int(some[row]), int(other[row])


def _thumbnails(images: Pixels) -> npt.NDArray[np.float32]:
    """Return images as float32 (n, D) of at most ``THUMBNAIL`` pixels a side, in units of [0, 1]: noise counts for little there."""
    count, channels, height, width = images.shape
    down, right = -(-height // THUMBNAIL), -(-width // THUMBNAIL)
    rows, columns = height // down, width // right
    cut = images[:, :, : rows * down, : columns * right].reshape(count, channels, rows, down, columns, right)
    return np.asarray(cut.mean((3, 5), dtype=np.float32).reshape(count, -1) / 255, dtype=np.float32)
