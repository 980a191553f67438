"""Artifacts kept as safetensors: image sets and linear weights."""

import hashlib
import json
from typing import Any

import numpy as np
import safetensors.numpy

from unlearnable.datasets.artifact import Artifact
from unlearnable.images import LabelledImages, Projection
from unlearnable.recoveries import LinearWeights

Header = dict[str, str]


def header(content: bytes) -> Header:
    """Return the metadata of a safetensors file; raise ValueError where there is none."""
    length = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + length])
    about = found.get("__metadata__") if isinstance(found, dict) else None
    if not isinstance(about, dict):
        raise ValueError("expected a header with metadata, got none")
    return about


def _packed(tensors: dict[str, Any], projection: Projection | None, about: Header) -> bytes:
    if projection is not None:
        tensors = tensors | {"basis": projection.basis, "centre": projection.centre}
    return safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata=about)


def _projection(tensors: dict[str, Any]) -> Projection:
    return Projection(basis=tensors["basis"], centre=tensors["centre"])


class ImagesDataset(Artifact[LabelledImages, LabelledImages]):
    """A labelled image set, with the ids of its images and their hash; a projection is kept beside the images, not applied to them.

    Example:
        ```yaml
        clean_train:
          type: unlearnable.datasets.tensors.ImagesDataset
          filepath: data/03_primary/${dataset:}/${recipe:ingest}/clean_train.safetensors
          recipe: ${recipe:ingest}
          versioned: true
        ```
    """

    def encode(self, data: LabelledImages) -> bytes:
        """Return images and labels as safetensors."""
        ids_sha256 = hashlib.sha256(data.ids.tobytes()).hexdigest()
        about = {"recipe": self.recipe, "num_classes": str(data.num_classes), "ids_sha256": ids_sha256}
        return _packed({"images": data.images, "labels": data.labels, "ids": data.ids}, data.projection, about)

    def decode(self, content: bytes) -> tuple[LabelledImages, str | None]:
        """Return the image set and its recipe."""
        tensors, about = safetensors.numpy.load(content), header(content)
        images = LabelledImages(
            images=tensors["images"],
            labels=tensors["labels"],
            num_classes=int(about["num_classes"]),
            projection=_projection(tensors) if "basis" in tensors else None,
            ids=tensors["ids"],
        )
        return images, about.get("recipe")


class LinearWeightsDataset(Artifact[LinearWeights, LinearWeights]):
    """The linear model of a recovery and its projection.

    Example:
        ```yaml
        linear_weights:
          type: unlearnable.datasets.tensors.LinearWeightsDataset
          filepath: data/06_models/${dataset:}/${param:recovery}/${recipe:orthogonal_projection}/linear_weights.safetensors
          recipe: ${recipe:orthogonal_projection}
          versioned: true
        ```
    """

    def encode(self, data: LinearWeights) -> bytes:
        """Return weights and projection as safetensors."""
        about = {"recipe": self.recipe, "train_accuracy": repr(data.train_accuracy), "seconds": repr(data.seconds)}
        return _packed({"weights": data.weights}, data.projection, about)

    def decode(self, content: bytes) -> tuple[LinearWeights, str | None]:
        """Return the linear model and its recipe."""
        tensors, about = safetensors.numpy.load(content), header(content)
        accuracy, seconds = float(about["train_accuracy"]), float(about["seconds"])
        weights = LinearWeights(weights=tensors["weights"], train_accuracy=accuracy, projection=_projection(tensors), seconds=seconds)
        return weights, about.get("recipe")
