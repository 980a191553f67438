"""A picture of an image set."""

import io

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
    channels, height, width = images.shape
    sheet = np.full((len(rows) * (height + GAP) - GAP, max(map(len, rows)) * (width + GAP) - GAP, channels), 255, dtype=np.uint8)
    for top, places in zip(range(0, len(sheet), height + GAP), rows, strict=True):
        for left, image in zip(range(0, sheet.shape[1], width + GAP), _seen(images.subset(places)), strict=False):
            sheet[top : top + height, left : left + width] = image
    buffer = io.BytesIO()
    Image.fromarray(sheet.squeeze()).save(buffer, format="png")
    return buffer.getvalue()


def _seen(images: LabelledImages) -> npt.NDArray[np.uint8]:
    """Return pixels (N, H, W, C)."""
    pixels = as_float(resident(images, torch.device("cpu")).cpu()).clamp(0, 1)
    seen: npt.NDArray[np.uint8] = (pixels * 255).round().byte().numpy().transpose(0, 2, 3, 1)
    return seen
