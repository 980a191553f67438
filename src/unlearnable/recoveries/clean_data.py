"""Recoveries for whoever has some clean images."""

from dataclasses import dataclass
from typing import Annotated

from unlearnable.images import LabelledImages
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE
from unlearnable.recoveries.base import Needs, Recovery, clean_samples, register
from unlearnable.training import Method


@register("early_stopping")
@dataclass(frozen=True, kw_only=True)
class EarlyStopping(Recovery):
    """Training on the poisoned set as it is, of which the epoch is taken that is best on clean images.

    Args:
        clean_samples: how many clean images.
        sample_seed: which; not the cell's seed, so that cells share them.
    """

    clean_samples: Annotated[int, AT_LEAST_ONE] = 1000
    sample_seed: Annotated[int, NON_NEGATIVE] = 0

    @property
    def needs(self) -> Needs:
        """Clean images."""
        return Needs(clean_samples=self.clean_samples)

    def method(self, clean: LabelledImages, *, seed: int) -> Method:  # noqa: ARG002
        """Return plain training, measured on the clean images after every epoch too."""
        setting = "recover.early_stopping.clean_samples"
        return Method(held_out=clean_samples(clean, self.clean_samples, seed=self.sample_seed, setting=setting))
