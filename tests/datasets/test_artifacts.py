"""Round trips of every dataset class, and what a damaged or half-written file leads to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DatasetError, Version
from kedro.io.core import generate_timestamp
from matplotlib.figure import Figure

from tests.conftest import ROOT, make_images
from unlearnable.datasets.artifact import Artifact
from unlearnable.datasets.atomic import complete, sidecar, write_new
from unlearnable.datasets.checkpoints import CheckpointsDataset
from unlearnable.datasets.reports import FigureDataset, JsonDataset, TableDataset
from unlearnable.datasets.tensors import ImagesDataset, LinearWeightsDataset
from unlearnable.images import Projection
from unlearnable.recoveries import RECOVERIES, LinearWeights, recover
from unlearnable.training import Checkpoint

CPU = torch.device("cpu")


def make(kind, folder, *, recipe="abc", version=None, **more):
    return kind(filepath=str(folder / "thing"), recipe=recipe, version=version or Version(None, generate_timestamp()), **more)


def figure():
    drawn = Figure(figsize=(1, 1))
    drawn.subplots().plot([0, 1])
    return drawn


def checkpoint(epoch, epochs=3):
    state = {"head.weight": torch.full((2, 2), float(epoch)), "count": torch.tensor(epoch)}
    return Checkpoint(epoch=epoch, epochs=epochs, state=state, history=[{"loss": 1.0 / e} for e in range(1, epoch + 1)])


def examples():
    images = make_images(12, classes=3)
    linear, recovered = recover("orthogonal_projection", images, seed=0, device=CPU, settings={"epochs": 1})
    return {
        "images": (ImagesDataset, images),
        "recovered": (ImagesDataset, recovered),
        "weights": (LinearWeightsDataset, linear),
        "json": (JsonDataset, {"accuracy": {"clean": 0.5}, "seed": 1}),
        "table": (TableDataset, pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]})),
        "figure": (FigureDataset, figure()),
        "checkpoint": (CheckpointsDataset, checkpoint(3)),
    }


EXAMPLES = examples()


def same(left, right) -> bool:
    if isinstance(left, pd.DataFrame):
        return left.equals(right)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if hasattr(left, "__dataclass_fields__"):
        return all(same(getattr(left, f), getattr(right, f)) for f in left.__dataclass_fields__)
    return left == right


def loaded(dataset):
    found = dataset.load()
    return found[-1] if isinstance(dataset, CheckpointsDataset) else found


@pytest.mark.parametrize("name", set(EXAMPLES) - {"figure", "json"})
def test_what_is_saved_is_what_is_loaded(name, tmp_path):
    kind, data = EXAMPLES[name]
    dataset = make(kind, tmp_path)
    assert not dataset.exists()
    dataset.save(data)
    assert dataset.exists()
    assert same(loaded(dataset), data)


def test_scores_carry_their_recipe(tmp_path):
    dataset = make(JsonDataset, tmp_path)
    dataset.save({"seed": 1})
    assert dataset.load() == {"seed": 1, "recipe_hash": "abc"}


def test_scores_with_nan_are_refused(tmp_path):
    dataset = make(JsonDataset, tmp_path)
    with pytest.raises(DatasetError, match="JSON compliant"):
        dataset.save({"accuracy": float("nan")})
    assert not dataset.exists()


def test_a_figure_is_a_png_at_the_path_that_is_loaded(tmp_path):
    dataset = make(FigureDataset, tmp_path)
    dataset.save(figure())
    assert dataset.load().read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_artifact_of_another_recipe_is_refused(name, tmp_path):
    kind, data = EXAMPLES[name]
    make(kind, tmp_path).save(data if name != "figure" else figure())
    with pytest.raises(DatasetError, match="expected an artifact of recipe other, got abc"):
        loaded(make(kind, tmp_path, recipe="other"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_flipped_bit_is_noticed(name, tmp_path):
    kind, data = EXAMPLES[name]
    dataset = make(kind, tmp_path)
    dataset.save(data if name != "figure" else figure())
    [file] = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".sha256"]
    content = bytearray(file.read_bytes())
    for place in np.random.default_rng(0).integers(len(content) * 8, size=20):
        content[place // 8] ^= 1 << (place % 8)
        file.write_bytes(content)
        with pytest.raises(DatasetError, match="expected the SHA-256"):
            loaded(dataset)
        content[place // 8] ^= 1 << (place % 8)
    file.write_bytes(content)
    loaded(dataset)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_without_its_sidecar_is_not_there(name, tmp_path):
    kind, data = EXAMPLES[name]
    make(kind, tmp_path).save(data if name != "figure" else figure())
    for path in tmp_path.rglob("*.sha256"):
        path.unlink()
    assert not make(kind, tmp_path).exists()


def test_versions_stand_beside_each_other(tmp_path):
    for number, day in ((1, "2026-01-01T00.00.00.000Z"), (2, "2026-01-02T00.00.00.000Z")):
        make(JsonDataset, tmp_path, version=Version(None, day)).save({"number": number})
    newest = make(JsonDataset, tmp_path)
    assert newest.load()["number"] == 2
    first = make(JsonDataset, tmp_path, version=Version(newest.list_versions(full_path=False)[-1], None))
    assert first.load()["number"] == 1


def test_a_name_that_is_taken_is_not_overwritten(tmp_path):
    write_new(tmp_path / "x", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.sha256"]


def test_a_file_that_lost_its_sidecar_is_not_overwritten_either(tmp_path):
    (tmp_path / "x").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_sidecar_is_what_sha256sum_checks(tmp_path):
    write_new(tmp_path / "x", b"content")
    subprocess.run(["sha256sum", "--check", "--quiet", "x.sha256"], cwd=tmp_path, check=True)


def test_an_encoder_that_fails_leaves_nothing(tmp_path):
    class Failing(Artifact[int, int]):
        def encode(self, data):
            raise RuntimeError("no")

        def decode(self, content):
            return 0, "abc"

    dataset = make(Failing, tmp_path)
    with pytest.raises(DatasetError):
        dataset.save(1)
    assert not dataset.exists()
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_write_that_fails_leaves_nothing(step, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "x", b"content")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
from unlearnable.datasets.atomic import write_new
print("ready", flush=True)
for number in range(10_000):
    write_new(Path(sys.argv[1]) / f"file-{number}", bytes([number % 256]) * 200_000)
"""


def test_a_killed_writer_leaves_no_broken_file(tmp_path):
    for round_ in range(5):
        folder = tmp_path / str(round_)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
        )
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05 + 0.03 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        whole = [path for path in folder.glob("file-*") if complete(path)]
        assert whole
        for path in whole:
            number = int(path.name.removeprefix("file-"))
            assert path.read_bytes() == bytes([number % 256]) * 200_000


def test_checkpoints_are_there_once_the_last_one_is(tmp_path):
    dataset = make(CheckpointsDataset, tmp_path)
    for epoch in (1, 2):
        dataset.save(checkpoint(epoch))
        assert not make(CheckpointsDataset, tmp_path).exists()
    dataset.save(checkpoint(3))
    found = make(CheckpointsDataset, tmp_path).load()
    assert [c.epoch for c in found] == [1, 2, 3]
    assert [c.epoch for c in found[1:]] == [2, 3]
    assert same(found[0], checkpoint(1))


def test_only_the_newest_checkpoints_are_kept_where_asked(tmp_path):
    dataset = make(CheckpointsDataset, tmp_path, keep=2)
    for epoch in (1, 2, 3):
        dataset.save(checkpoint(epoch))
    assert [c.epoch for c in dataset.load()] == [2, 3]
    assert len(list(tmp_path.rglob("*.sha256"))) == 2


def test_an_unfinished_training_does_not_hide_a_finished_one(tmp_path):
    make(CheckpointsDataset, tmp_path, version=Version(None, "2026-01-01")).save(checkpoint(3))
    make(CheckpointsDataset, tmp_path, version=Version(None, "2026-01-02")).save(checkpoint(1))
    assert [c.epoch for c in make(CheckpointsDataset, tmp_path).load()] == [3]


def test_weights_of_no_recovery_go_round_too(tmp_path, clean):
    nothing = RECOVERIES["none"](clean, seed=0, device=CPU)
    dataset = make(LinearWeightsDataset, tmp_path)
    dataset.save(nothing)
    found = dataset.load()
    assert isinstance(found, LinearWeights)
    assert np.isnan(found.train_accuracy)
    assert isinstance(found.projection, Projection)
    assert found.projection.removed_directions == 0


def test_previews_are_what_kedro_viz_shows(tmp_path):
    for name in ("json", "table", "figure"):
        kind, data = EXAMPLES[name]
        dataset = make(kind, tmp_path / name)
        dataset.save(data if name != "figure" else figure())
        assert dataset.preview()


def test_sidecar_stands_beside(tmp_path: Path):
    assert sidecar(tmp_path / "a.png").name == "a.png.sha256"
