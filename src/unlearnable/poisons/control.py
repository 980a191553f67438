"""The control: no poison at all."""

import numpy as np

from unlearnable.images import LabelledImages, blank
from unlearnable.poisons.base import POISONS, Crafting, Perturbation, made_at_any_size, turns_pixels

turns_pixels(0, "none")
made_at_any_size("none")


@POISONS.add("none")
def none(clean: LabelledImages, crafting: Crafting) -> Perturbation:  # noqa: ARG001
    """Return zeros: the row of a study that the others are compared with."""
    return blank(clean.images.shape, np.float32)
