"""Artifacts kept as safetensors: image sets, linear weights and projections.

The library writes and reads whole files in memory; image sets are written part by part and mapped, since they may be larger.
"""

import base64
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
import safetensors
import safetensors.numpy
from kedro.io import Version
from kedro_datasets._typing import ImagePreview

from unlearnable.artifacts.artifact import Artifact
from unlearnable.artifacts.atomic import Part, open_checked
from unlearnable.artifacts.sheet import contact_sheet
from unlearnable.images import CHUNK, LabelledImages, Projection
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


class ImagesDataset(Artifact[LabelledImages, LabelledImages]):
    """A labelled image set, with the ids of its images and their hash; a projection is kept beside the images, not applied to them.

    Args:
        pixels: another set, by the arguments of this class. Pixels that are the same there are not written again, but read from there.

    Example:
        ```yaml
        recovered_train:
          type: unlearnable.artifacts.tensors.ImagesDataset
          filepath: data/05_model_input/${place:}/recovered_train.safetensors
          recipe: ${recipe:}
          pixels: { filepath: "${filepath:poisoned_train}", recipe: "${recipe:poisoned_train}" }
          versioned: true
        ```
    """

    def __init__(self, *, pixels: dict[str, Any] | None = None, **artifact: Any) -> None:
        super().__init__(**artifact)
        self.pixels = ImagesDataset(version=Version(None, None), **pixels) if pixels else None

    def encode(self, data: LabelledImages) -> Iterator[Part]:
        """Return images and labels as safetensors, in parts."""
        is_elsewhere = self._is_elsewhere(data)
        return images_parts(data, None if is_elsewhere else data.images, {"recipe": self.recipe})

    def opened(self, path: Path) -> Content:
        """Return the bytes of the file; a set may be larger than the memory."""
        return open_checked(path)

    def decode(self, content: Content) -> tuple[LabelledImages, str | None]:
        """Return the image set, which is read as it is used, and its recipe."""
        tensors = mapped(content)
        if "images" not in tensors and self.pixels is not None:
            tensors["images"] = self.pixels.load().images
        return images_of(content, tensors), header(content).get("recipe")

    def preview(self) -> ImagePreview:
        """Return what kedro-viz shows: the first images of the first classes, a row a class."""
        return ImagePreview(base64.b64encode(contact_sheet(self.load())).decode())

    def _exists(self) -> bool:
        """Return whether there is a version, with the set that its pixels are read from."""
        return super()._exists() and (self.pixels is None or self.pixels.exists() or _has_images(Path(self._get_load_path())))

    def _is_elsewhere(self, data: LabelledImages) -> bool:
        """Return whether the pixels of ``data`` are those of the set that ``pixels`` names."""
        if self.pixels is None or not self.pixels.exists():
            return False
        other = self.pixels.load().images
        return other.shape == data.images.shape and all(
            np.array_equal(data.images[start : start + CHUNK], other[start : start + CHUNK]) for start in range(0, len(other), CHUNK)
        )


def _has_images(path: Path) -> bool:
    """Return whether a file has pixels of its own."""
    with safetensors.safe_open(str(path), framework="numpy") as file:
        return "images" in file.keys()  # noqa: SIM118  # no mapping


def images_parts(labelled: LabelledImages, pixels: "npt.NDArray[np.uint8] | Stream | None", about: Header) -> Iterator[Part]:
    """Yield the parts of a file with the images ``pixels``, or without any, and with everything else of ``labelled``."""
    tensors: dict[str, Any] = {"labels": labelled.labels, "ids": labelled.ids} | ({} if pixels is None else {"images": pixels})
    if labelled.projection is not None:
        tensors |= {"basis": labelled.projection.basis, "centre": labelled.projection.centre}
        about = about | {"seconds_of_projection": repr(labelled.projection.seconds)}
    ids_sha256 = hashlib.sha256(labelled.ids.tobytes()).hexdigest()
    return packed_parts(tensors, about | _described(labelled) | {"ids_sha256": ids_sha256})


def _described(labelled: LabelledImages) -> Header:
    """Return what a set says of its classes, of the published set that it is taken from, and of its making."""
    names = {"class_names": json.dumps(labelled.class_names)} if labelled.class_names else {}
    return {"num_classes": str(labelled.num_classes), "published": str(labelled.published), "seconds": repr(labelled.seconds)} | names


def images_of(content: Content, tensors: dict[str, Any] | None = None) -> LabelledImages:
    """Return the image set of such a file; ``tensors`` are those of the file, where the caller has them."""
    found, about = tensors or mapped(content), header(content)
    return LabelledImages(
        images=found["images"],
        labels=found["labels"],
        num_classes=int(about["num_classes"]),
        projection=_projection(found, float(about["seconds_of_projection"])) if "basis" in found else None,
        ids=found["ids"],
        class_names=tuple(json.loads(about.get("class_names", "[]"))),
        published=int(about.get("published", 0)),
        seconds=float(about.get("seconds", 0)),
    )


def _projection(tensors: dict[str, Any], seconds: float) -> Projection:
    return Projection(basis=tensors["basis"], centre=tensors["centre"], seconds=seconds)


class LinearWeightsDataset(Artifact[LinearWeights, LinearWeights]):
    """The linear models of Orthogonal Projection.

    Example:
        ```yaml
        linear_weights:
          type: unlearnable.artifacts.tensors.LinearWeightsDataset
          filepath: data/06_models/${place:}/linear_weights.safetensors
          recipe: ${recipe:}
          versioned: true
        ```
    """

    def encode(self, data: LinearWeights) -> bytes:
        """Return weights and centre as safetensors."""
        about = {"recipe": self.recipe, "train_accuracy": repr(data.train_accuracy), "seconds": repr(data.seconds)}
        return _saved({"weights": data.weights, "centre": data.centre}, about)

    def decode(self, content: bytes) -> tuple[LinearWeights, str | None]:
        """Return the linear models and their recipe."""
        tensors, about = safetensors.numpy.load(content), header(content)
        facts = {name: float(about[name]) for name in ("train_accuracy", "seconds")}
        return LinearWeights(weights=tensors["weights"], centre=tensors["centre"], **facts), about.get("recipe")


class ProjectionDataset(Artifact[Projection, Projection]):
    """A projection: the directions that it removes, and the point that stays.

    Example:
        ```yaml
        removed_directions:
          type: unlearnable.artifacts.tensors.ProjectionDataset
          filepath: data/06_models/${place:}/removed_directions.safetensors
          recipe: ${recipe:}
          versioned: true
        ```
    """

    def encode(self, data: Projection) -> bytes:
        """Return basis and centre as safetensors."""
        return _saved({"basis": data.basis, "centre": data.centre}, {"recipe": self.recipe, "seconds": repr(data.seconds)})

    def decode(self, content: bytes) -> tuple[Projection, str | None]:
        """Return the projection and its recipe."""
        about = header(content)
        return _projection(safetensors.numpy.load(content), float(about["seconds"])), about.get("recipe")


def _saved(tensors: dict[str, Any], about: Header) -> bytes:
    return safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata=about)
