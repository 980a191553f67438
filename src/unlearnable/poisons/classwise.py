"""Random noise, one pattern a class: Huang et al., "Unlearnable Examples" (ICLR 2021), the class-wise random control."""

from typing import Annotated

import numpy as np

from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.ranges import POSITIVE_FRACTION
from unlearnable.seeds import numpy_generator


@POISONS.add("classwise_random")
def classwise_random(clean: LabelledImages, crafting: Crafting, *, linf: Annotated[float, POSITIVE_FRACTION]) -> Perturbation:
    """Return for each image the pattern of its class, each value uniform in [-linf, linf]; linf in units of [0, 1]."""
    rng = numpy_generator(crafting.seed, "poison/classwise_random")
    patterns = rng.uniform(-linf, linf, size=(clean.num_classes, *clean.shape)).astype(np.float32)
    return patterns[clean.labels]
