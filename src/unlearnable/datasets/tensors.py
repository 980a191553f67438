"""Artifacts kept as safetensors: image sets and linear weights.

The library writes and reads whole files in memory; image sets are written part by part and mapped, since they may be larger.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from unlearnable.datasets.artifact import Artifact
from unlearnable.datasets.atomic import Part, open_checked
from unlearnable.images import LabelledImages, Projection
from unlearnable.recoveries import LinearWeights

Header = dict[str, str]
Content = bytes | bytearray | mmap
NAMES = {"float32": "F32", "int64": "I64", "uint8": "U8"}  # of types, in the format
TYPES = {name: np.dtype(kind) for kind, name in NAMES.items()}
PART_BYTES = 2**26  # that are copied at once


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An array that comes in parts, along its first axis."""

    shape: tuple[int, ...]
    dtype: str
    parts: Iterable[npt.NDArray[Any]]


def packed_parts(tensors: dict[str, "npt.NDArray[Any] | Stream"], about: Header) -> Iterator[Part]:
    """Yield the parts of a safetensors file; larger numbers come first, so that all are aligned."""
    streams = {name: value if isinstance(value, Stream) else _streamed(value) for name, value in tensors.items()}
    order = sorted(streams, key=lambda name: (-np.dtype(streams[name].dtype).itemsize, name))
    described: dict[str, Any] = {"__metadata__": about}
    end = 0
    for name in order:
        shape, dtype = streams[name].shape, streams[name].dtype
        start, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        described[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        yield from (np.ascontiguousarray(part).data for part in streams[name].parts)


def _streamed(array: npt.NDArray[Any]) -> Stream:
    """Return an array in parts: where it is mapped, they are read one by one."""
    rows = max(1, PART_BYTES * len(array) // max(1, array.nbytes)) if array.ndim else 1
    parts = (array[start : start + rows] for start in range(0, len(array), rows))
    return Stream(shape=array.shape, dtype=array.dtype.name, parts=parts)


def mapped(content: Content) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a safetensors file; of a mapped one they are read as they are used."""
    length = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + length])
    found = {}
    for name, about in described.items():
        if name != "__metadata__":
            shape, dtype = tuple(about["shape"]), TYPES[about["dtype"]]
            flat = np.frombuffer(content, dtype, count=math.prod(shape), offset=8 + length + about["data_offsets"][0])
            found[name] = flat.reshape(shape)
    return found


def header(content: Content) -> Header:
    """Return the metadata of a safetensors file; raise ValueError where there is none."""
    length = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + length])
    about = found.get("__metadata__") if isinstance(found, dict) else None
    if not isinstance(about, dict):
        raise ValueError("expected a header with metadata, got none")
    return about


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

    def encode(self, data: LabelledImages) -> Iterator[Part]:
        """Return images and labels as safetensors, in parts."""
        return images_parts(data, data.images, {"recipe": self.recipe})

    def opened(self, path: Path) -> Content:
        """Return the bytes of the file; a set may be larger than the memory."""
        return open_checked(path)

    def decode(self, content: Content) -> tuple[LabelledImages, str | None]:
        """Return the image set, which is read as it is used, and its recipe."""
        return images_of(content), header(content).get("recipe")


def images_parts(labelled: LabelledImages, pixels: "npt.NDArray[np.uint8] | Stream", about: Header) -> Iterator[Part]:
    """Yield the parts of a file with the images ``pixels`` and with everything else of ``labelled``."""
    tensors: dict[str, Any] = {"images": pixels, "labels": labelled.labels, "ids": labelled.ids}
    if labelled.projection is not None:
        tensors |= {"basis": labelled.projection.basis, "centre": labelled.projection.centre}
    ids_sha256 = hashlib.sha256(labelled.ids.tobytes()).hexdigest()
    return packed_parts(tensors, about | _described(labelled) | {"ids_sha256": ids_sha256})


def _described(labelled: LabelledImages) -> Header:
    """Return what a set says of its classes and of the published set that it is taken from."""
    names = {"class_names": json.dumps(labelled.class_names)} if labelled.class_names else {}
    return {"num_classes": str(labelled.num_classes), "published": str(labelled.published)} | names


def images_of(content: Content) -> LabelledImages:
    """Return the image set of such a file."""
    tensors, about = mapped(content), header(content)
    return LabelledImages(
        images=tensors["images"],
        labels=tensors["labels"],
        num_classes=int(about["num_classes"]),
        projection=_projection(tensors) if "basis" in tensors else None,
        ids=tensors["ids"],
        class_names=tuple(json.loads(about.get("class_names", "[]"))),
        published=int(about.get("published", 0)),
    )


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
        tensors = {"weights": data.weights, "basis": data.projection.basis, "centre": data.projection.centre}
        return safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata=about)

    def decode(self, content: bytes) -> tuple[LinearWeights, str | None]:
        """Return the linear model and its recipe."""
        tensors, about = safetensors.numpy.load(content), header(content)
        accuracy, seconds = float(about["train_accuracy"]), float(about["seconds"])
        weights = LinearWeights(weights=tensors["weights"], train_accuracy=accuracy, projection=_projection(tensors), seconds=seconds)
        return weights, about.get("recipe")
