"""Artifacts kept as safetensors: image sets, linear weights and checkpoints."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import safetensors.numpy
import safetensors.torch

from unlearnable.datasets.artifact import Artifact, complete, sidecar, write_new
from unlearnable.images import LabelledImages, Projection
from unlearnable.recoveries import LinearWeights
from unlearnable.training import Checkpoint

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
        about = {"recipe": self.recipe, "train_accuracy": repr(data.train_accuracy)}
        return _packed({"weights": data.weights}, data.projection, about)

    def decode(self, content: bytes) -> tuple[LinearWeights, str | None]:
        """Return the linear model and its recipe."""
        tensors, about = safetensors.numpy.load(content), header(content)
        accuracy = float(about["train_accuracy"])
        weights = LinearWeights(weights=tensors["weights"], train_accuracy=accuracy, projection=_projection(tensors))
        return weights, about.get("recipe")


class Checkpoints(Sequence[Checkpoint]):
    """The checkpoints of a training, in the order of their epochs, each read when it is asked for."""

    def __init__(self, dataset: "CheckpointsDataset", paths: list[Path]) -> None:
        self._dataset, self._paths = dataset, paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> "Checkpoints": ...
    def __getitem__(self, index: int | slice) -> "Checkpoint | Checkpoints":
        if isinstance(index, slice):
            return Checkpoints(self._dataset, self._paths[index])
        found: Checkpoint = self._dataset.read(self._paths[index])
        return found


class CheckpointsDataset(Artifact[Checkpoint, Any]):
    """Checkpoints of one training, saved one by one while it runs; a version is there once the last one is.

    Args:
        keep: how many of the newest to keep; 0 keeps all.

    Example:
        ```yaml
        clean_checkpoints:
          type: unlearnable.datasets.tensors.CheckpointsDataset
          filepath: data/06_models/${dataset:}/clean/${param:model}/${recipe:train_clean}/checkpoints
          recipe: ${recipe:train_clean}
          keep: ${param:train.keep_checkpoints}
          versioned: true
        ```
    """

    def __init__(self, *, keep: int = 0, **artifact: Any) -> None:
        super().__init__(**artifact)
        self._exists_function = _finished
        self.keep = keep

    def encode(self, data: Checkpoint) -> bytes:
        """Return the state as safetensors, with epoch and measurements."""
        about = {"epoch": data.epoch, "epochs": data.epochs, "history": data.history}
        return safetensors.torch.save(
            {name: value.contiguous() for name, value in data.state.items()},
            metadata={"recipe": self.recipe, "about": json.dumps(about)},
        )

    def decode(self, content: bytes) -> tuple[Checkpoint, str | None]:
        """Return the checkpoint and its recipe."""
        found = header(content)
        return Checkpoint(state=safetensors.torch.load(content), **json.loads(found["about"])), found.get("recipe")

    def load(self) -> Checkpoints:
        """Return the checkpoints that were kept, the last one at the end."""
        return Checkpoints(self, _files(Path(self._get_load_path())))

    def save(self, data: Checkpoint) -> None:
        """Write one checkpoint and drop the ones that need not be kept."""
        folder = Path(self._get_save_path())
        last = ".last" if data.is_last else ""
        write_new(folder / f"epoch-{data.epoch:04d}{last}.safetensors", self.encode(data))
        for old in _files(folder)[: -self.keep] if self.keep else []:
            old.unlink()
            sidecar(old).unlink()
        # Kedro looks up the newest version after a save, which is not this one until its last checkpoint is there.
        self._cached_load_version = self.resolve_save_version()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("epoch-*.safetensors") if complete(path))


def _finished(folder: str) -> bool:
    return any(path.name.endswith(".last.safetensors") for path in _files(Path(folder)))
