"""What each format holds, read into a table of values and which of them belongs to which clean image.

- ``png_folder`` (TAP, AR, regions): poisoned images ``INDEX.png``, stored rounded (TAP has them in a folder ``data``).
- ``em_tensor`` (EM): a float tensor ``perturbation.pt``, (K, C, H, W) or (N, C, H, W), in units of [0, 1].
- ``rem_pickle`` (REM): int8 (N, C, H, W), in levels.
- ``ops_array`` (OPS): float (N, H, W, C), (K, H, W, C) or (H, W, C) in units of [0, 1], or uint8 images (N, H, W, C).
- ``lsp_array`` (LSP): as OPS; or a folder with ``simple_data.npy`` and ``simple_label.npy``, handed out class by class.
- ``ntga_arrays`` (NTGA): a folder with one ``x_train*.npy``, images (N, H, W, C) as floats in [0, 1] or uint8, and one
  ``y_train*.npy``, their classes as numbers or one-hot; shuffled and fewer than the clean ones.

K is the number of classes, N that of images in the training set as published, neither more nor less. Both orders of axes are understood.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.sources.foreign.arrays import read_array
from unlearnable.sources.foreign.matching import match
from unlearnable.sources.foreign.pickles import Array
from unlearnable.sources.foreign.pngs import read_pngs
from unlearnable.sources.foreign.releases import (
    BLOCK,
    Indices,
    Pixels,
    Release,
    Request,
    plus_float32,
    plus_levels,
    plus_unit,
    slack,
    stored,
    to_levels,
)

ROOM = 4  # a release may be that many times as large as float64 values for the published images
NTGA_LINF = 8 / 255


def read(request: Request, clean: LabelledImages) -> Release:
    """Return the release of ``request`` for the images of ``clean``, by their ids.

    Raises:
        InputError: files are not what the format says.
    """
    return READERS[request.format](request, clean)


def _bound(clean: LabelledImages) -> int:
    rows = clean.published + clean.num_classes
    return ROOM * 8 * rows * math.prod(clean.shape) + (1 << 20)


def _images(values: Array, clean: LabelledImages, rows: Indices) -> Release:
    places = np.arange(len(clean))
    return Release(values=values, form="images", rounding="none", limits=(0, 255), rows=rows, places=places, pixels=stored)


def _png_folder(request: Request, clean: LabelledImages) -> Release:
    values = read_pngs(request.path, clean.ids, clean.shape, clean.published)
    return _images(values, clean, np.arange(len(clean)))


def _em_tensor(request: Request, clean: LabelledImages) -> Release:
    values = read_array(request.path, _bound(clean))
    _require_dtype(values, "f")
    return _noise(values, clean, request.rounding, plus_float32)


def _rem_pickle(request: Request, clean: LabelledImages) -> Release:
    values = read_array(request.path, _bound(clean))
    if values.dtype != np.int8:
        raise InputError(f"expected noise as int8, in levels, got {values.dtype}")
    return replace(_noise(values, clean, "none", plus_levels), limits=(-128, 127))


def _ops_array(request: Request, clean: LabelledImages) -> Release:
    values = read_array(request.path, _bound(clean))
    if values.dtype == np.uint8:
        values = _channels_first(values, clean)
        _require_count(values, clean)
        return _images(values, clean, clean.ids)
    _require_dtype(values, "f")
    return _noise(values, clean, request.rounding, plus_unit)


def _lsp_array(request: Request, clean: LabelledImages) -> Release:
    if not request.path.is_dir():
        return _ops_array(request, clean)
    values = _channels_first(_array_named(request.path, "simple_data", clean), clean)
    _require_dtype(values, "f")
    classes = _classes(_array_named(request.path, "simple_label", clean), len(values), clean.num_classes)
    if not np.array_equal(clean.ids, np.arange(len(clean))):
        raise InputError("expected the whole training set, since values are handed out class by class in its order, got a part of it")
    rows = np.empty(len(clean), dtype=np.int64)
    for label in range(clean.num_classes):
        members, of_class = (np.flatnonzero(found == label) for found in (clean.labels, classes))
        if len(of_class) < len(members):
            raise InputError(f"expected at least {len(members)} values of class {label}, got {len(of_class)}")
        rows[members] = of_class[: len(members)]
    return replace(_noise(values, clean, request.rounding, plus_unit, rows=rows), form="sample-wise, by class")


def _ntga_arrays(request: Request, clean: LabelledImages) -> Release:
    """Match by content: an image belongs to the one clean image of its class within the budget."""
    if not request.path.is_dir():
        raise InputError("expected a folder with x_train*.npy and y_train*.npy, got a file")
    values = _channels_first(_array_named(request.path, "x_train", clean), clean)
    rounding = "none" if values.dtype == np.uint8 else request.rounding
    if rounding != "none":
        _require_dtype(values, "f")
        values = _levels_of_unit(values, rounding)
    classes = _classes(_array_named(request.path, "y_train", clean), len(values), clean.num_classes)
    levels = int(request.budget.get("linf", NTGA_LINF) * 255 + slack(rounding) + 1e-6)
    places = match(values, classes, clean, levels)
    _require_matches(places, clean, levels)
    rows = np.flatnonzero(places >= 0)
    return replace(_images(values, clean, rows), places=places[rows], form="images, matched by content", rounding=rounding, pixels=stored)


READERS: dict[str, Callable[[Request, LabelledImages], Release]] = {
    "png_folder": _png_folder,
    "em_tensor": _em_tensor,
    "rem_pickle": _rem_pickle,
    "ops_array": _ops_array,
    "lsp_array": _lsp_array,
    "ntga_arrays": _ntga_arrays,
}


def _noise(
    values: Array, clean: LabelledImages, rounding: str, pixels: Callable[[Pixels, Array], Array], *, rows: Indices | None = None
) -> Release:
    """Return noise as a release; its shape says to which images each row belongs."""
    values = _channels_first(values if values.ndim != 3 else values[None], clean)
    form = "sample-wise"
    if rows is None:
        form, rows = _rows_by_shape(values, clean)
    places = np.arange(len(clean))
    return Release(values=values, form=form, rounding=rounding, limits=(-1, 1), rows=rows, places=places, pixels=pixels)


def _rows_by_shape(values: Array, clean: LabelledImages) -> tuple[str, Indices]:
    if len(values) == 1:
        return "universal", np.zeros(len(clean), dtype=np.int64)
    if len(values) == clean.num_classes:
        return "class-wise", clean.labels
    _require_count(values, clean)
    return "sample-wise", clean.ids


def _require_count(values: Array, clean: LabelledImages) -> None:
    """Raise where a release is not of as many images as were published: the rows of a larger dataset belong to other images."""
    if len(values) != clean.published:
        expected = f"{clean.published} rows, one an image of the training set as published"
        raise InputError(f"expected {expected} (or {clean.num_classes} of noise, one a class), got {len(values)}")


def _require_dtype(values: Array, kind: str) -> None:
    if values.dtype.kind != kind:
        raise InputError(f"expected floats in units of [0, 1], got {values.dtype}")


def _channels_first(values: Array, clean: LabelledImages) -> Array:
    channels, height, width = clean.shape
    if values.ndim == 4 and values.shape[1:] == clean.shape:
        return values
    if values.ndim == 4 and values.shape[1:] == (height, width, channels):
        return values.transpose(0, 3, 1, 2)
    raise InputError(f"expected (N, {channels}, {height}, {width}) or (N, {height}, {width}, {channels}), got {values.shape}")


def _array_named(folder: Path, start: str, clean: LabelledImages) -> Array:
    """Return the array of the one file ``start*.npy``."""
    found = sorted(path for path in folder.glob(f"{start}*.npy") if not path.is_symlink())
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise InputError(f"expected one file {start}*.npy in the folder, got {names}")
    try:
        return read_array(found[0], _bound(clean))
    except InputError as error:
        raise InputError(f"{found[0].name}: {error}") from None


def _classes(found: Array, count: int, num_classes: int) -> Indices:
    """Return classes (N,) from numbers or one-hot rows."""
    shown = f"{found.dtype} {found.shape}"
    if found.ndim == 2 and found.shape[1] == num_classes:
        if not (np.isin(found, (0, 1)).all() and (found.sum(1) == 1).all()):
            raise InputError("expected one-hot labels, got rows that do not name one class")
        found = found.argmax(1)
    found = found.reshape(-1) if found.shape == (count, 1) else found
    if found.shape != (count,) or not np.isin(found, np.arange(num_classes)).all():
        raise InputError(f"expected {count} labels from 0 to {num_classes - 1}, or one-hot, got {shown}")
    return found.astype(np.int64)


def _levels_of_unit(values: Array, rounding: str) -> Pixels:
    levels = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        if not (block.min() >= 0 and block.max() <= 1):
            raise InputError(f"expected images in [0, 1], got {block.min():g} to {block.max():g}")
        levels[start : start + BLOCK] = to_levels(block * 255, rounding)
    return levels


def _require_matches(places: Indices, clean: LabelledImages, levels: int) -> None:
    """Raise where images belong to no clean one; a part of the training set may lack some, but not most."""
    matched = int((places >= 0).sum())
    whole = np.array_equal(clean.ids, np.arange(len(clean)))
    if matched < len(places) if whole else 2 * matched < len(clean):
        first = int(np.flatnonzero(places < 0)[0])
        raise InputError(
            f"expected each image within {levels} levels of a clean one of its class, got {matched} of {len(places)} that are "
            f"(of {len(clean)} clean ones); the first that is not: {first}"
        )
