"""How far images are from their originals, perturbed or recovered: norms, PSNR, and SSIM by torchmetrics.

SSIM: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity" (2004), with its Gaussian window of 11 pixels.
torchmetrics mirrors the borders, where the authors' code leaves them out.
"""

from typing import Any

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from unlearnable.images import LabelledImages
from unlearnable.training.pixels import as_float

TOGETHER = 128  # images
MOST = 250  # images whose likeness is measured: SSIM takes 2 ms an image
WINDOW = 11  # pixels of SSIM: smaller images have none


def perceptibility(clean: LabelledImages, poisoned: LabelledImages) -> dict[str, Any]:
    """Return what each image's change amounts to.

    Returns:
        ``images``, their number, ``changed``, the fraction that differs at all; and ``median`` and ``worst`` over the images that differ of
        ``l2`` and ``linf``, in units of [0, 1], ``psnr`` in dB and ``ssim`` in [-1, 1]; empty where none differs.
    """
    found = _measured(clean, poisoned)
    differ = found["linf"] > 0
    told: dict[str, Any] = {"images": len(poisoned), "changed": float(differ.mean()), "median": {}, "worst": {}}
    for name, values in found.items():
        if differ.any():
            of = values[differ]
            told["median"][name] = float(np.median(of))
            told["worst"][name] = float(of.max() if name in ("l2", "linf") else of.min())
    return told


def likeness(clean: LabelledImages, images: LabelledImages) -> dict[str, float]:
    """Return how like their originals images are, those of a projected set as they are trained on: medians of at most 250.

    Returns:
        ``psnr`` in dB, 120 for images that are their originals, and ``ssim`` in [-1, 1] where images have 11 pixels or more.
    """
    places = np.linspace(0, len(images) - 1, min(len(images), MOST)).astype(np.int64)
    found = _measured(clean, images.subset(places))
    return {name: float(np.median(found[name])) for name in ("psnr", "ssim") if name in found}


def _measured(clean: LabelledImages, images: LabelledImages) -> dict[str, Any]:
    """Return each measure (N,) of how far images are from their originals."""
    clean = clean.matching(images)
    rows = [_measured_part(clean, images, slice(start, start + TOGETHER)) for start in range(0, len(images), TOGETHER)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _measured_part(clean: LabelledImages, poisoned: LabelledImages, part: slice) -> dict[str, Any]:
    """Return each measure (n,) of a part of the images."""
    before, after = (_seen(images, part) for images in (clean, poisoned))
    change = (after - before).flatten(1)
    mean_square = change.square().mean(1)
    found = {
        "l2": change.norm(dim=1).numpy(),
        "linf": change.abs().amax(1).numpy(),
        "psnr": (-10 * mean_square.clamp_min(1e-12).log10()).numpy(),
    }
    if min(clean.shape[1:]) >= WINDOW:
        similarity = structural_similarity_index_measure(after, before, data_range=1.0, reduction="none")
        found["ssim"] = np.atleast_1d(similarity.numpy())  # type: ignore[union-attr]
    return found


def _seen(images: LabelledImages, part: slice) -> torch.Tensor:
    """Return a part of the images as they are to be seen, float32 in units of [0, 1]."""
    pixels = as_float(torch.from_numpy(images.images[part]))
    return pixels if images.projection is None else torch.from_numpy(images.projection(pixels.numpy()))
