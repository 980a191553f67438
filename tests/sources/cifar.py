"""A generated folder in CIFAR-10's own format."""

import pickle
from pathlib import Path

import numpy as np

from tests.sources.formats import md5_of


def write_cifar10(
    root: Path, *, per_batch: int = 10, seed: int = 0, labels: list[int] | None = None, leaked: int = 0
) -> tuple[np.ndarray, dict[str, str]]:
    """Write ``cifar-10-batches-py`` under ``root``; return all images (N, 3, 32, 32) and the MD5 of each file.

    ``labels`` are those of every batch, ``leaked`` is how many test images are training images.
    """
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    labels = list(range(10)) * (per_batch // 10) if labels is None else labels
    batches = {
        name: rng.integers(256, size=(per_batch, 3072), dtype=np.uint8)
        for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    }
    batches["test_batch"][:leaked] = batches["data_batch_1"][:leaked]
    for name, data in batches.items():
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}))
    return np.concatenate(list(batches.values())).reshape(-1, 3, 32, 32), md5_of(*folder.iterdir())
