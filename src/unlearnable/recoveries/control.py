"""The control: train on the poisoned set as it is."""

import math

import numpy as np
import torch

from unlearnable.images import LabelledImages, Projection
from unlearnable.recoveries.base import RECOVERIES, LinearWeights


@RECOVERIES.add("none")
def none(poisoned: LabelledImages, *, seed: int, device: torch.device) -> LinearWeights:  # noqa: ARG001
    """Return a projection that removes nothing."""
    size = poisoned.images[0].size
    nothing = Projection(basis=np.zeros((size, 0), dtype=np.float32), centre=np.zeros(size, dtype=np.float32))
    return LinearWeights(weights=np.zeros((0, size), dtype=np.float32), train_accuracy=math.nan, projection=nothing)
