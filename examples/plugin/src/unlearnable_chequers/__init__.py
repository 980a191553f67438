"""Chequers: an example of a poison that another package brings. It was not published anywhere."""

from typing import Annotated

import numpy as np

from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, made_at_any_size, of_each_class
from unlearnable.ranges import POSITIVE_FRACTION

made_at_any_size("chequers")  # squares grow with the image


@POISONS.add("chequers")
def chequers(clean: LabelledImages, crafting: Crafting, *, linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255) -> Perturbation:  # noqa: ARG001
    """Return for each image the chequers of its class, each value -linf or linf, in units of [0, 1]."""
    patterns = np.stack([_board(clean.shape, side) for side in range(1, clean.num_classes + 1)])
    return of_each_class(np.float32(linf) * patterns, clean)


def _board(shape: tuple[int, int, int], side: int) -> np.ndarray:
    """Return squares of -1 and 1, float32 (C, H, W), of ``side`` pixels."""
    channels, height, width = shape
    rows, columns = np.indices((height, width)) // side
    return np.broadcast_to(1 - 2 * ((rows + columns) % 2), (channels, height, width)).astype(np.float32)
