"""The detector that separates autoregressive noise, which no linear model can: Sandoval-Segura et al., NeurIPS 2022, "perfect model".

Each class has a 3x3 filter that predicts a pixel from the eight before it, so the filter's response to noise of its own class is zero.
The published detector knows the filters of the processes. Ours estimates them from some images by least squares, so it also works for
imported noise, whose processes are unknown. It sums the positive responses, where the published one takes the largest: after rounding
and clipping, the largest response comes from a clipped pixel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FILTERED_AT_ONCE = 512  # images
TAPS = 8  # pixels of the 3x3 window, in reading order; the ninth is the one to predict
RIDGE = 1e-9


def filters_of(processes: Tensor) -> Tensor:
    """Return the filters (K, C, 3, 3) whose response to signals of ``processes`` (K, C, 8) is zero."""
    pixel = processes.new_full((*processes.shape[:2], 1), -1.0)
    filters: Tensor = torch.cat([processes, pixel], dim=2).unflatten(2, (3, 3)).float()
    return filters


def estimated_filters(noise: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the filters (K, C, 3, 3) that predict the pixels of each class best, by least squares.

    At most 512 images of each class are used: they have half a million windows for eight coefficients, so more would change nothing.

    Args:
        noise: (N, C, H, W), of any number type.
        labels: int64 (N,).
        num_classes: K; the filters of a class without images are NaN, and ``detected`` never chooses them.
    """
    channels = noise.shape[1]
    processes = torch.full((num_classes, channels, TAPS), math.nan, dtype=torch.float64, device=noise.device)
    for label in labels.unique():
        products = _products(noise[labels == label][:FILTERED_AT_ONCE])
        past, present = products[:, :TAPS, :TAPS], products[:, :TAPS, TAPS]
        ridge = RIDGE * past.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1.0)
        processes[label] = torch.linalg.solve(past + ridge[:, None, None] * torch.eye(TAPS).to(past), present)
    return filters_of(processes)


def detected(noise: Tensor, filters: Tensor) -> Tensor:
    """Return for each of ``noise`` (N, C, H, W) the class (N,) whose filter responds least: convolution, ReLU, sum, minimum."""
    return torch.cat([_answers(part.float(), filters).nan_to_num(math.inf).argmin(1) for part in noise.split(FILTERED_AT_ONCE)])


def _answers(noise: Tensor, filters: Tensor) -> Tensor:
    return F.conv2d(noise, filters).relu().sum((2, 3))


def _products(noise: Tensor) -> Tensor:
    """Return the products (C, 9, 9) of all pairs of pixels of a window, summed over windows and images, in float64."""
    windows = noise.float().unfold(2, 3, 1).unfold(3, 3, 1).transpose(0, 1).flatten(4).flatten(1, 3)  # (C, N (H-2) (W-2), 9)
    return (windows.transpose(1, 2) @ windows).double()
