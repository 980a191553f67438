"""Any image dataset of the Hugging Face hub, or one of its form on disk."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from unlearnable.datasets.decoded import Frame, decoded, named
from unlearnable.datasets.raw import RawImages, ReadOnly
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.register import nearest

if TYPE_CHECKING:
    from datasets import Dataset


LONGEST_REASON = 300


class HuggingFaceImages(ReadOnly):
    """A dataset of images and labels that the package ``datasets`` reads: from the hub, or from a folder on disk.

    Args:
        name: of the dataset, in paths and scores.
        path: a folder with Parquet files, or one that ``save_to_disk`` wrote.
        hub: in the place of ``path``: a name on the hub, such as ``uoft-cs/cifar10``.
        revision: with ``hub``: the commit, so that a result names the bytes that it is made from.
        configuration: of a dataset that has several.
        train, test: the splits.
        image, label: the columns; labels are whole numbers from 0 on.
        side, resize, channels: as those of ``FolderImages``.
        filepath: the folder of the decoded images.
        metadata: for kedro-viz.

    Example:
        ```yaml
        raw_images:
          type: unlearnable.datasets.hub.HuggingFaceImages
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
            InputError: where the dataset is not there or cannot be downloaded, a split or column is unknown, or an image cannot be decoded.
        """
        rows = self._opened()
        found = {part: self._split(rows, split) for part, split in self.splits.items()}
        labels = {part: self._labels(part, rows) for part, rows in found.items()}
        num_classes = 1 + max(int(each.max()) for each in labels.values())
        train, test = (self._decoded(part, found[part], labels[part], num_classes) for part in self.splits)
        return RawImages(train=train, test=test)

    def _opened(self) -> Any:
        """Return the splits by name."""
        try:
            return self._rows()
        except (OSError, RuntimeError, ValueError) as error:  # what datasets and the hub raise, each in its own words
            where = (
                f"raw_images.hub: expected a dataset '{self.hub}'" if self.hub else f"raw_images.path: expected a dataset in {self.path}"
            )
            raise InputError(f"{where}, got {' '.join(str(error).split())[:LONGEST_REASON]}") from error

    def _split(self, rows: Any, split: str) -> "Dataset":
        if split not in rows:
            raise InputError(f"raw_images: expected one of the splits {', '.join(rows)}, got '{split}'{nearest(split, list(rows))}")
        return rows[split]

    def _rows(self) -> Any:
        import datasets  # here, since it takes a second

        datasets.disable_progress_bars()
        if self.path is None:
            return datasets.load_dataset(self.hub, self.configuration, revision=self.revision)
        if not Path(self.path).is_dir():
            raise FileNotFoundError("nothing, it is missing")
        if (Path(self.path) / "dataset_dict.json").is_file():
            return datasets.load_from_disk(self.path)
        return datasets.load_dataset(self.path, self.configuration)  # a folder on disk has no revision  # nosec B615

    def _labels(self, part: str, rows: "Dataset") -> Any:
        from datasets import Image as ImageColumn

        for column in self.columns.values():
            if column not in rows.column_names:
                known = rows.column_names
                raise InputError(f"raw_images: expected one of the columns {', '.join(known)}, got '{column}'{nearest(column, known)}")
        if not isinstance(rows.features[self.columns["image"]], ImageColumn):
            raise InputError(f"raw_images.image: expected a column of images, got '{self.columns['image']}'")
        labels = np.asarray(rows[self.columns["label"]])
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
            raise InputError(f"raw_images.label: expected whole numbers from 0 on in the {part} set, got '{self.columns['label']}'")
        return labels.astype(np.int64)

    def _decoded(self, part: str, rows: "Dataset", labels: Any, num_classes: int) -> LabelledImages:
        copy = named(self.filepath, frame=self.frame, columns=self.columns, bytes=rows._fingerprint, revision=self.revision)
        sources = [(f"{part} image {place}", partial(_image, rows, self.columns["image"], place)) for place in range(len(rows))]
        return decoded(sources, labels, num_classes, frame=self.frame, copy=copy / f"{part}.safetensors")

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "path": self.path, "hub": self.hub, "frame": self.frame}


def _image(rows: "Dataset", column: str, place: int) -> Image.Image:
    image: Image.Image = rows[place][column]
    return image
