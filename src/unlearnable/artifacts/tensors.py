"""Artifacts kept as safetensors: image sets, linear weights and projections."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
from kedro.io import Version
from kedro_datasets._typing import ImagePreview

from unlearnable.artifacts.artifact import Artifact
from unlearnable.artifacts.atomic import Part, open_checked
from unlearnable.artifacts.packing import Content, Header, Stream, header, packed, unpacked
from unlearnable.artifacts.sheet import contact_sheet
from unlearnable.images import CHUNK, LabelledImages, Projection
from unlearnable.recoveries import LinearWeights


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
        tensors = unpacked(content)
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
    return packed(tensors, about | _described(labelled) | {"ids_sha256": ids_sha256})


def _described(labelled: LabelledImages) -> Header:
    """Return what a set says of its classes, of the published set that it is taken from, and of its making."""
    names = {"class_names": json.dumps(labelled.class_names)} if labelled.class_names else {}
    return {"num_classes": str(labelled.num_classes), "published": str(labelled.published), "seconds": repr(labelled.seconds)} | names


def images_of(content: Content, tensors: dict[str, Any] | None = None) -> LabelledImages:
    """Return the image set of such a file; ``tensors`` are those of the file, where the caller has them."""
    found, about = tensors or unpacked(content), header(content)
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

    def encode(self, data: LinearWeights) -> Iterator[Part]:
        """Return weights and centre as safetensors."""
        about = {"recipe": self.recipe, "train_accuracy": repr(data.train_accuracy), "seconds": repr(data.seconds)}
        return packed({"weights": data.weights, "centre": data.centre}, about)

    def decode(self, content: bytes) -> tuple[LinearWeights, str | None]:
        """Return the linear models and their recipe."""
        tensors, about = unpacked(bytearray(content)), header(content)  # which torch may write to
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

    def encode(self, data: Projection) -> Iterator[Part]:
        """Return basis and centre as safetensors."""
        return packed({"basis": data.basis, "centre": data.centre}, {"recipe": self.recipe, "seconds": repr(data.seconds)})

    def decode(self, content: bytes) -> tuple[Projection, str | None]:
        """Return the projection and its recipe."""
        about = header(content)
        return _projection(unpacked(bytearray(content)), float(about["seconds"])), about.get("recipe")
