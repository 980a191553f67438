"""What it costs that nothing is lost: an artifact against plain bytes, a checkpoint, an event of a run's record.

python -m benchmarks.reliability
"""

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import torch
from kedro.io import Version

from benchmarks.timing import in_turns
from unlearnable.artifacts.atomic import complete, read_checked, write_new
from unlearnable.artifacts.checkpoints import CheckpointsDataset
from unlearnable.models import build
from unlearnable.tracking.record import Record
from unlearnable.training import Checkpoint

ROUNDS = 7
IMAGES = np.random.default_rng(0).integers(256, size=50_000 * 3072, dtype=np.uint8).tobytes()  # as large as CIFAR-10


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=".") as folder:  # on the disk of the project, not in memory
        for name, seconds in in_turns(contenders(Path(folder)), ROUNDS).items():
            print(f"{name}: {1000 * seconds:.2f} ms (median of {ROUNDS})")


def contenders(folder: Path) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""
    number = count()
    write_new(folder / "whole", IMAGES)
    record = Record.create(folder, experiment="x", name="x", params={}, tags={})
    return {
        "154 MB as plain bytes, not synced": lambda: (folder / f"plain-{next(number) % 2}").write_bytes(IMAGES),
        "154 MB as an artifact": lambda: _replaced(folder / "artifact"),
        "is it there, by size and sidecar": lambda: complete(folder / "whole"),
        "154 MB read as plain bytes": (folder / "whole").read_bytes,
        "154 MB read and checked": lambda: read_checked(folder / "whole"),
        "checkpoint of small_cnn": _saver("small_cnn", folder),
        "checkpoint of resnet18": _saver("resnet18", folder),
        "an event of the record, synced": lambda: record.append("metrics", step=1, values={"loss": 0.5, "test_accuracy": 0.5}),
    }


def _replaced(path: Path) -> None:
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    write_new(path, IMAGES)


def _saver(model: str, folder: Path) -> Callable[[], None]:
    """Return what saves a checkpoint with momentum, keeping the newest two."""
    network = build(model, shape=(3, 32, 32), num_classes=10, seed=0)
    momentum = {f"momentum/{name}": torch.ones_like(value) for name, value in network.named_parameters()}
    dataset = CheckpointsDataset(filepath=str(folder / model), recipe="abc", keep=2, version=Version(None, None))
    epochs = count(1)

    def save() -> None:
        epoch = next(epochs)
        dataset.save(Checkpoint(epoch=epoch, epochs=1000, state=network.state_dict(), history=[], training=momentum))

    return save


if __name__ == "__main__":
    main()
