"""What a recovery is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unlearnable.images import LabelledImages, Projection
from unlearnable.register import Register


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearWeights:
    """A linear model's weights and the projection that removes what they span.

    Args:
        weights: float32 (K, D), one row a class; no rows where nothing was fitted.
        train_accuracy: of the linear model on the set it was fitted on, a fraction; NaN where nothing was fitted.
        projection: onto the complement of the rows.
    """

    weights: npt.NDArray[np.float32]
    train_accuracy: float
    projection: Projection


Recovery = Callable[..., LinearWeights]
RECOVERIES: Register[Recovery] = Register("recovery")


def recover(
    name: str, poisoned: LabelledImages, *, seed: int, device: torch.device, settings: dict[str, Any]
) -> tuple[LinearWeights, LabelledImages]:
    """Return what the recovery of that name learned from ``poisoned``, and the recovered set.

    Raises:
        InputError: where the name is unknown.
    """
    linear = RECOVERIES[name](poisoned, seed=seed, device=device, **settings)
    projection = linear.projection if linear.projection.removed_directions else None
    return linear, replace(poisoned, projection=projection)
