"""A model on its device, as it sees images: normalised, in the precision of its training."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from unlearnable.models import ImageClassifier
from unlearnable.training.device import computes_in_bfloat16
from unlearnable.training.pixels import Pixels, Projected, as_float

BATCH = 250  # images of an evaluation: on a CPU its activations stay in the cache, which is 1.5 times as fast as with 1,000
GPU_BATCH = 1_000
T = TypeVar("T")
Normalisation = tuple[npt.ArrayLike, npt.ArrayLike]


class Network:
    """A model that takes images in units of [0, 1].

    Args:
        model: moved to ``device``.
        normalisation: mean and standard deviation of each channel, in units of [0, 1].
        device: where.
        precision: as in the training recipe.
    """

    def __init__(self, model: ImageClassifier, normalisation: Normalisation, device: torch.device, precision: str) -> None:
        self.device, self.normalisation = device, normalisation
        self.bfloat16 = computes_in_bfloat16(device, precision)
        self.layout = torch.channels_last if self.bfloat16 else torch.contiguous_format
        self.model = model.to(device=device, memory_format=self.layout)  # type: ignore[call-overload]
        mean, deviation = (torch.tensor(np.asarray(v), dtype=torch.float32, device=device).view(1, -1, 1, 1) for v in normalisation)
        self.scale, self.shift = 1 / deviation, -mean / deviation

    def logits(self, pixels: Pixels | Projected) -> Tensor:
        """Return the model's logits (N, K) of resident images, in evaluation mode."""
        return self._evaluated(self.forward, pixels)

    def features(self, pixels: Pixels) -> Tensor:
        """Return the model's features (N, width), float32, of resident images, in evaluation mode."""
        return self._evaluated(lambda images: self._applied(self.model.features, images), pixels)

    def recalibrate(self, images: Tensor) -> None:
        """Set the statistics of BatchNorm to their means over batches of ``images`` (N, C, H, W) in units of [0, 1]."""
        self._applied(lambda seen: update_bn(seen.split(BATCH), self.model), images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W) in units of [0, 1], in the precision of the training."""
        logits: Tensor = self._applied(self.model, images)
        return logits

    def penultimate(self, images: Tensor) -> Tensor:
        """Return features (N, width) of images (N, C, H, W) in units of [0, 1], in the precision of the training, with their gradients."""
        features: Tensor = self._applied(self.model.features, images)
        return features

    def _applied(self, function: Callable[[Tensor], T], images: Tensor) -> T:
        images = torch.addcmul(self.shift, images, self.scale).contiguous(memory_format=self.layout)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            return function(images)

    def _evaluated(self, function: Callable[[Tensor], Tensor], pixels: Pixels | Projected) -> Tensor:
        self.model.eval()
        size = BATCH if self.device.type == "cpu" else GPU_BATCH
        chunks = (pixels[start : start + size] for start in range(0, len(pixels), size))
        with torch.inference_mode():
            return torch.cat([function(as_float(chunk)) for chunk in chunks]).float()
