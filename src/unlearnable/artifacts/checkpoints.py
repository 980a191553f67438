"""Checkpoints of a training, saved one by one while it runs; an interrupted training resumes from them.

A version is a folder with a file for each epoch. Beside the newest ones is what resuming needs (momentum,
generator), which is dropped when the training ends.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import safetensors.torch
from kedro_datasets._typing import PlotlyPreview
from torch import Tensor

from unlearnable.artifacts.artifact import Artifact
from unlearnable.artifacts.atomic import DamagedError, Hold, complete, held, read_checked, remove, set_aside, write_new
from unlearnable.artifacts.packing import header
from unlearnable.training import Checkpoint, goes_on, spelled

logger = logging.getLogger(__name__)
LAST = ".last.safetensors"
RESUMABLE = 2  # the newest epochs that a training can resume from: if one is damaged, the other is used


class Checkpoints(Sequence[Checkpoint]):
    """The checkpoints of a training, in the order of their epochs, each read when it is used."""

    def __init__(self, dataset: "CheckpointsDataset", paths: Sequence[Path]) -> None:
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
        return self._dataset.read_epoch(self._paths[index])


class CheckpointsDataset(Artifact[Checkpoint, Any]):
    """Checkpoints of one training, saved one by one while it runs; a version is there once the last one is.

    Args:
        keep: how many of the newest to keep; 0 keeps all.

    Example:
        ```yaml
        clean_checkpoints:
          type: unlearnable.artifacts.checkpoints.CheckpointsDataset
          filepath: data/06_models/${place:}/checkpoints
          recipe: ${recipe:}
          keep: ${param:train.keep_checkpoints}
          versioned: true
        ```
    """

    def __init__(self, *, keep: int = 0, **artifact: Any) -> None:
        super().__init__(**artifact)
        self._exists_function = _finished
        self.keep = keep
        self._hold: Hold | None = None  # on what is written, against other runs
        self._continued: Hold | None = None  # on what is resumed from

    def to_go_on_from(self, here: Mapping[str, str]) -> Checkpoints:
        """Return the checkpoints of the interrupted training that came furthest and may resume here; the last has what that needs.

        Args:
            here: what a training would be made on (``training.device.made_on``). One that began on another kind of device, or in
                another precision, is left as it is, until one has ended.
        """
        elsewhere: Mapping[str, str] = {}
        for folder in sorted(self._cut_off(), key=lambda folder: _files(folder)[-1].name, reverse=True):
            self._continued = Hold(folder)
            good = self._good(folder)
            while good and not _training(good[-1]):
                good.pop()
            there = self.read_epoch(good[-1]).made_on if good else {}
            if good and goes_on(there, here):
                logger.info("resuming from %s", good[-1])
                return Checkpoints(self, good)
            self._continued.let_go()
            elsewhere = elsewhere or there
        if elsewhere:
            logger.info("a training that began on %s starts again here, on %s: %s", spelled(elsewhere), spelled(here), self.place)
        return Checkpoints(self, [])

    def _cut_off(self) -> list[Path]:
        """Return the versions in which a training was interrupted."""
        folders = self.place.glob(f"*/{self.place.name}")
        return [folder for folder in folders if _files(folder) and not _finished(folder) and not held(folder)]

    def encode(self, data: Checkpoint) -> bytes:
        """Return the model's state as safetensors, with epoch, measurements, and what it was made on."""
        about = {"epoch": data.epoch, "epochs": data.epochs, "history": data.history, "made_on": data.made_on}
        return self._packed(data.state, about)

    def decode(self, content: bytes) -> tuple[Checkpoint, str | None]:
        """Return the checkpoint and its recipe."""
        found = header(content)
        return Checkpoint(state=safetensors.torch.load(content), **json.loads(found["about"])), found.get("recipe")

    def read(self, path: Path) -> Checkpoints:
        """Return the checkpoints in the folder ``path``, the last one at the end.

        Raises:
            DamagedError: one is damaged; it and those after it are set aside, and the version counts as interrupted.
        """
        good = self._good(path)
        if not good or not good[-1].name.endswith(LAST):
            raise DamagedError(f"{path}: expected the checkpoints of a whole training, got {len(good)} that are good")
        return Checkpoints(self, good)

    def save(self, data: Checkpoint) -> None:
        """Write one checkpoint and drop the ones that need not be kept."""
        folder = Path(self._get_save_path())
        self._hold = self._hold or Hold(folder)
        path = folder / f"epoch-{data.epoch:04d}{LAST if data.is_last else '.safetensors'}"
        if data.training:
            write_new(_training_of(path), self._packed(data.training, {"epoch": data.epoch}))
        write_new(path, self.encode(data))
        self._drop_old(folder, ended=data.is_last)
        # Kedro looks up the newest version after a save, which is not this one until its last checkpoint is there.
        self._cached_load_version = self.resolve_save_version()

    def preview(self) -> PlotlyPreview:
        """Return what kedro-viz shows: test accuracy, epoch by epoch."""
        history = self.load()[-1].history
        accuracy = [measured["test_accuracy"] for measured in history]
        line = {"type": "scatter", "x": list(range(1, len(history) + 1)), "y": accuracy}
        axes = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": "test accuracy"}, "range": [0, 1]}}
        return PlotlyPreview({"data": [line], "layout": axes})

    def read_epoch(self, path: Path) -> Checkpoint:
        """Return the checkpoint at ``path`` with what resuming needs, if that is there."""
        checkpoint: Checkpoint = super().read(path)
        return replace(checkpoint, training=_training(path))

    def _good(self, folder: Path) -> list[Path]:
        """Return the files of ``folder`` up to the first that is damaged; set that aside with all after it."""
        files = _files(folder)
        for place, path in enumerate(files):
            try:
                read_checked(path)
            except DamagedError as error:
                logger.warning("a damaged checkpoint was set aside as %s, with those after it (%s)", set_aside(path), error)
                for later in files[place + 1 :]:
                    set_aside(later)
                return files[:place]
        return files

    def _set_aside(self, path: Path, why: object) -> None:
        """Do nothing: ``_good`` has set aside what was damaged."""

    def _drop_old(self, folder: Path, *, ended: bool) -> None:
        files = _files(folder)
        for path in files if ended else files[:-RESUMABLE]:
            remove(_training_of(path))
        for path in files[: -self.keep] if self.keep else []:
            remove(path)
            remove(_training_of(path))
        if ended:
            self._let_go()
            self._clear()

    def _clear(self) -> None:
        """Remove what interrupted trainings left, once one has ended: all that they had is there."""
        for folder in self._cut_off():
            if not any(folder.glob("*.damaged")):
                shutil.rmtree(folder.parent, ignore_errors=True)

    def _packed(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> bytes:
        contiguous = {name: value.contiguous() for name, value in tensors.items()}
        return safetensors.torch.save(contiguous, metadata={"recipe": self.recipe, "about": json.dumps(about)})

    def _let_go(self) -> None:
        for hold in filter(None, (self._hold, self._continued)):
            hold.let_go()
        self._hold = self._continued = None

    def _release(self) -> None:
        super()._release()
        self._let_go()


def _training_of(path: Path) -> Path:
    """Return the path of what resuming from the checkpoint at ``path`` needs."""
    return path.with_name(f"training-{path.name.removeprefix('epoch-')}")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.safetensors"))


def _finished(folder: str | Path) -> bool:
    return any(path.name.endswith(LAST) and complete(path) for path in _files(Path(folder)))


def _training(path: Path) -> dict[str, Tensor]:
    """Return what resuming from the checkpoint at ``path`` needs; nothing if it was dropped or is damaged."""
    try:
        return safetensors.torch.load(read_checked(_training_of(path)))
    except (DamagedError, FileNotFoundError):
        return {}
