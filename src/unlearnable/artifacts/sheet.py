"""A picture of an image set."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from unlearnable.images import LabelledImages
from unlearnable.training.pixels import as_float, resident

CLASSES, EACH = 10, 12  # rows and columns at most
GAP = 2  # pixels


def contact_sheet(images: LabelledImages) -> bytes:
    """Return a PNG with the first images of the first classes, a row a class; projected pixels are clipped to [0, 1] to be seen."""
    rows = [np.flatnonzero(images.labels == label)[:EACH] for label in np.unique(images.labels)[:CLASSES]]
    buffer = io.BytesIO()
    Image.fromarray(mosaic([seen(images.subset(row)) for row in rows], GAP).squeeze()).save(buffer, format="png")
    return buffer.getvalue()


def mosaic(rows: Sequence[npt.NDArray[np.uint8]], gap: int) -> npt.NDArray[np.uint8]:
    """Return rows of images, each (n, H, W, C), as one image (H', W', C) on white, with so many pixels between them."""
    _, height, width, channels = rows[0].shape
    size = len(rows) * (height + gap) - gap, max(map(len, rows)) * (width + gap) - gap
    whole = np.full((*size, channels), 255, dtype=np.uint8)
    for top, row in zip(range(0, size[0], height + gap), rows, strict=True):
        for left, image in zip(range(0, size[1], width + gap), row, strict=False):
            whole[top : top + height, left : left + width] = image
    return whole


def seen(images: LabelledImages) -> npt.NDArray[np.uint8]:
    """Return pixels (N, H, W, C), clipped to [0, 1] where they are projected."""
    pixels = as_float(resident(images, torch.device("cpu")).cpu()).clamp(0, 1)
    found: npt.NDArray[np.uint8] = (pixels * 255).round().byte().numpy().transpose(0, 2, 3, 1)
    return found
