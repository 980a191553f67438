"""Any image dataset of the Hugging Face hub, or one of its form on disk."""

import json
import re
from dataclasses import replace
from functools import partial
from io import BytesIO
from logging import CRITICAL
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.register import nearest
from unlearnable.sources.decoded import Frame, decoded, named, opened
from unlearnable.sources.fingerprint import fingerprint
from unlearnable.sources.raw import RawImages, ReadOnly

if TYPE_CHECKING:
    from datasets import Dataset


LONGEST_REASON = 300
NO_ROWS = re.compile(r'Instruction "(.+?)" corresponds to no data')  # what datasets says of a split in a file without rows


class HuggingFaceImages(ReadOnly):
    """A dataset of images and labels that the package ``datasets`` reads: from the hub, or from a folder on disk.

    Args:
        name: of the dataset, in paths and scores.
        path: a folder with Parquet files, or one that ``save_to_disk`` wrote.
        hub: instead of ``path``, a name on the hub, such as ``uoft-cs/cifar10``.
        revision: with ``hub``: the commit, so that a result names the bytes that it is made from.
        configuration: of a dataset that has several.
        train, test: the splits.
        image, label: the columns; labels are whole numbers from 0 on. Where classes have names, those of the test set are numbered by them.
        side, resize, channels: as those of ``FolderImages``.
        filepath: the folder of the decoded images.
        metadata: for kedro-viz.

    Example:
        ```yaml
        raw_images:
          type: unlearnable.sources.hub.HuggingFaceImages
          name: beans
          hub: AI-Lab-Makerere/beans
          revision: 1b93d5d0d0a5b3b2a8d0ec2ae5ad24f5d4c1a5c7
          label: labels
          side: 64
          filepath: data/02_intermediate/${dataset:}/decoded
        ```
    """

    def __init__(
        self,
        *,
        name: str,
        filepath: str,
        path: str | None = None,
        hub: str | None = None,
        revision: str | None = None,
        configuration: str | None = None,
        train: str = "train",
        test: str = "test",
        image: str = "image",
        label: str = "label",
        side: int | None = None,
        resize: int | None = None,
        channels: int = 3,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if (path is None) == (hub is None):
            raise InputError(f"raw_images: expected a path or the name of a dataset on the hub, got path {path!r} and hub {hub!r}")
        if hub is not None and revision is None:
            raise InputError(f"raw_images.revision: expected the commit of '{hub}' on the hub, so that results name its bytes, got none")
        self.frame = Frame(side=side, resize=resize, channels=channels)
        self.name, self.path, self.hub, self.filepath, self.metadata = name, path, hub, filepath, metadata
        self.revision, self.configuration, self.splits = revision, configuration, {"train": train, "test": test}
        self.columns = {"image": image, "label": label}

    def load(self) -> RawImages:
        """Return the two sets, mapped.

        Raises:
            InputError: the dataset is not there or cannot be downloaded, a split or column is unknown, a split has no rows, labels
                are not 0 to one less than the classes, the test set has other classes, or an image is missing or cannot be decoded.
        """
        content = None if self.path is None else fingerprint(Path(self.path), "raw_images.path", follow=True)  # once: it reads all bytes
        rows = self._opened(content)
        found = {part: self._split(rows, split) for part, split in self.splits.items()}
        for part, each in found.items():
            self._require_columns(part, each)
        labels = {part: self._labels(part, each) for part, each in found.items()}
        names = self._names(found, labels)
        num_classes = len(names) or self._count(labels["train"])
        self._require_known(labels["test"], num_classes)
        train, test = (self._decoded(part, found[part], labels[part], num_classes, content) for part in self.splits)
        return RawImages(train=replace(train, class_names=names), test=replace(test, class_names=names))

    def _opened(self, content: str | None) -> Any:
        """Return the splits by name; ``content`` is the hash of a folder's bytes."""
        try:
            return self._rows(content)
        except InputError:
            raise
        except Exception as error:  # what datasets, the hub and readers of formats raise, each in its own words
            reason = _reason(error)
            if empty := NO_ROWS.search(reason):
                raise self._no_rows(empty[1]) from None
            place = f"hub: expected a dataset '{self.hub}'" if self.hub else f"path: expected a dataset in {self.path}"
            raise InputError(f"raw_images.{place}, got {reason[:LONGEST_REASON]}") from error

    def _split(self, rows: Any, split: str) -> "Dataset":
        if split not in rows:
            raise InputError(f"raw_images: expected one of the splits {', '.join(rows)}, got '{split}'{nearest(split, list(rows))}")
        if len(rows[split]) == 0:
            raise self._no_rows(split)
        return rows[split]

    def _no_rows(self, split: str) -> InputError:
        return InputError(f"raw_images: expected rows in the split '{split}', got none")

    def _rows(self, content: str | None) -> Any:
        import datasets  # here, since it takes a second

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(CRITICAL)  # it logs in many lines what it raises too
        if self.path is None:
            return datasets.load_dataset(self.hub, self.configuration, revision=self.revision)
        folder = Path(self.path)
        if not folder.is_dir():
            raise FileNotFoundError("nothing, it is missing")
        if (folder / "dataset_dict.json").is_file():
            return self._saved(folder)
        # What the library keeps of a folder is named by paths and dates, so each content gets a place of its own.
        cache = str(Path(datasets.config.HF_DATASETS_CACHE) / f"unlearnable-{content}")
        return datasets.load_dataset(self.path, self.configuration, cache_dir=cache)  # a folder has no revision  # nosec B615

    def _saved(self, folder: Path) -> dict[str, Any]:
        """Return the named splits of what ``save_to_disk`` wrote, and only the names of others."""
        from datasets import load_from_disk

        found = dict.fromkeys(json.loads((folder / "dataset_dict.json").read_text())["splits"])
        for split in found.keys() & self.splits.values():
            if not json.loads((folder / split / "state.json").read_text())["_data_files"]:  # the library fails at a split without rows
                raise self._no_rows(split)
            found[split] = load_from_disk(str(folder / split))
        return found

    def _require_columns(self, part: str, rows: "Dataset") -> None:
        from datasets import Image as ImageColumn

        known = rows.column_names
        for column in self.columns.values():
            if column not in known:
                raise InputError(f"raw_images: expected one of the columns {', '.join(known)}, got '{column}'{nearest(column, known)}")
        column = self.columns["image"]
        if not isinstance(rows.features[column], ImageColumn):
            kind = f"got '{column}', which holds {rows.features[column]} in the {part} set"
            raise InputError(f"raw_images.image: expected a column of images (datasets.Image), {kind}")

    def _labels(self, part: str, rows: "Dataset") -> npt.NDArray[np.int64]:
        """Return the labels (N,), as they are numbered there; nothing is allocated by what they are."""
        column = self.columns["label"]
        cells = list(rows[column])
        if None in cells:
            raise InputError(f"raw_images.label: expected a number in each row of the {part} set, got none in row {cells.index(None)}")
        labels = np.asarray(cells)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
            expected = f"expected whole numbers from 0 on in the {part} set"
            raise InputError(f"raw_images.label: {expected}, got '{column}', which holds {rows.features[column]}{_least(labels)}")
        if labels.max() > np.iinfo(np.int64).max:
            raise self._too_large(part, int(labels.max()), len(np.unique(labels)))
        return labels.astype(np.int64)

    def _count(self, labels: npt.NDArray[np.int64]) -> int:
        """Return how many classes the training set has."""
        count = len(np.unique(labels))
        if labels.max() >= count:
            raise self._too_large("train", int(labels.max()), count)
        return count

    def _require_known(self, labels: npt.NDArray[np.int64], count: int) -> None:
        if labels.max() >= count:
            raise self._too_large("test", int(labels.max()), count)

    def _too_large(self, part: str, got: int, count: int) -> InputError:
        return InputError(f"raw_images.label: expected 0 to {count - 1}, since there are {count} classes, got {got} in the {part} set")

    def _names(self, rows: dict[str, "Dataset"], labels: dict[str, npt.NDArray[np.int64]]) -> tuple[str, ...]:
        """Return the names of the classes, none where they have none; number the labels of the test set as the training set does."""
        names = {part: list(getattr(each.features[self.columns["label"]], "names", [])) for part, each in rows.items()}
        if bool(names["train"]) != bool(names["test"]):
            named, other = ("train", "test") if names["train"] else ("test", "train")
            raise InputError(
                f"raw_images.label: expected names of classes in both sets or in neither, got some in {named} and none in {other}"
            )
        if not names["train"]:
            return ()
        order = {name: place for place, name in enumerate(names["train"])}
        for label in np.unique(labels["test"]):
            name = names["test"][label]
            if name not in order:
                known = f"{', '.join(names['train'])}, in the test set"
                raise InputError(f"raw_images.label: expected only {known}, as in the train set, got '{name}'{nearest(name, list(order))}")
        labels["test"] = np.array([order.get(name, -1) for name in names["test"]], dtype=np.int64)[labels["test"]]
        return tuple(names["train"][: self._count(labels["train"])])

    def _decoded(self, part: str, rows: "Dataset", labels: npt.NDArray[np.int64], num_classes: int, content: str | None) -> LabelledImages:
        """Return the images of a set; their copy is named by the bytes that it is made of, which the library's own name of them is not."""
        from datasets import Image as ImageColumn

        decides = content if self.path else [self.hub, self.revision, rows._fingerprint]
        settings = {"columns": self.columns, "splits": self.splits, "configuration": self.configuration}
        copy = named(self.filepath, frame=self.frame, bytes=decides, **settings)
        column = self.columns["image"]
        encoded = rows.cast_column(column, ImageColumn(decode=False))
        sources = [(f"{part} image {place}", partial(self._image, encoded, column, place)) for place in range(len(rows))]
        return decoded(sources, labels, num_classes, frame=self.frame, copy=copy / f"{part}.safetensors")

    def _image(self, rows: "Dataset", column: str, place: int) -> Image.Image:
        """Return an image, not yet decoded."""
        cell = rows[place][column]
        if not cell or (cell["bytes"] is None and cell["path"] is None):
            raise InputError("expected an image, got none")
        if cell["bytes"] is not None:
            return opened(BytesIO(cell["bytes"]), formats=None)
        places = ((whole(Path(cell["path"])), whole(Path(self.path or ""))) for whole in (Path.absolute, Path.resolve))  # it may be a link
        if self.path and not any(file.is_relative_to(folder) for file, folder in places):
            raise InputError(f"expected the image in {self.path}, got the path of one elsewhere, {cell['path']}")
        return opened(Path(cell["path"]), formats=None)

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "path": self.path, "hub": self.hub, "frame": self.frame}


def _least(labels: npt.NDArray[Any]) -> str:
    """Return which label is below 0, where one is."""
    return f", {labels.min()} among them" if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) else ""


def _reason(error: BaseException) -> str:
    """Return in one line what an error of ``datasets`` began with: it wraps those of files and of columns in words that say nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    got, wanted = (getattr(error, f"{kind}_column_names", None) for kind in ("table", "requested"))
    if got and wanted:
        return f"a file with the columns {', '.join(got)} where another has {', '.join(wanted)}"
    return " ".join(str(error).split()) or type(error).__name__
