"""Round trips of every dataset class, and what a damaged or half-written file leads to."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DatasetError, Version
from kedro.io.core import generate_timestamp
from matplotlib.figure import Figure

from tests.conftest import make_images
from unlearnable.artifacts.artifact import Artifact
from unlearnable.artifacts.atomic import sidecar, write_new
from unlearnable.artifacts.checkpoints import CheckpointsDataset
from unlearnable.artifacts.reports import FigureDataset, JsonDataset, TableDataset
from unlearnable.artifacts.tensors import ImagesDataset, LinearWeightsDataset, ProjectionDataset
from unlearnable.images import Projection
from unlearnable.recoveries import OrthogonalProjection
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
    history = [{"loss": 1.0 / e} for e in range(1, epoch + 1)]
    return Checkpoint(epoch=epoch, epochs=epochs, state=state, history=history, made_on={"device": "cpu", "torch": "2.15"})


def examples():
    images = make_images(12, classes=3)
    recovery = OrthogonalProjection(epochs=1)
    linear, recovered = recovery.fit(images, seed=0, device=CPU), recovery.recovered(images, seed=0, device=CPU)
    return {
        "images": (ImagesDataset, replace(images.subset(np.array([5, 0, 7])), class_names=("cat", "chien", "бык"))),
        "recovered": (ImagesDataset, recovered),
        "weights": (LinearWeightsDataset, linear),
        "directions": (ProjectionDataset, recovered.projection),
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


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"figure", "json"}))
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


CAUGHT = ("expected the SHA-256", "expected the checkpoints of a whole training")


def the_file(folder: Path) -> Path:
    [file] = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".sha256"]
    return file


@pytest.mark.parametrize("trials", [40, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_flipped_bit_is_caught(name, trials, tmp_path):
    kind, data = EXAMPLES[name]
    make(kind, tmp_path).save(data if name != "figure" else figure())
    file = the_file(tmp_path)
    content, note = file.read_bytes(), sidecar(file).read_bytes()
    caught = 0
    for place in np.random.default_rng(0).integers(len(content) * 8, size=trials):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        file.write_bytes(flipped)
        sidecar(file).write_bytes(note)
        with pytest.raises(DatasetError, match=CAUGHT[kind is CheckpointsDataset]):
            make(kind, tmp_path).load()
        assert not make(kind, tmp_path).exists()
        caught += 1
    assert caught == trials
    file.write_bytes(content)
    sidecar(file).write_bytes(note)
    loaded(make(kind, tmp_path))


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def emptied(file):
    file.write_bytes(b"")


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def without_sidecar(file):
    sidecar(file).unlink()


def with_another_sidecar(file):
    sidecar(file).write_text("hello")


DAMAGE = [cut, emptied, flipped, without_sidecar, with_another_sidecar]


def damaged_newest(kind, name, folder, damage) -> Path:
    """Save two versions, damage the newer one, and return its file."""
    for day in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        make(kind, folder, version=Version(None, day)).save(EXAMPLES[name][1] if name != "figure" else figure())
    newest = max(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".sha256")
    damage(newest)
    return newest


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_damaged_newest_version_is_set_aside_and_the_newest_good_one_is_used(name, damage, tmp_path, caplog):
    kind, data = EXAMPLES[name]
    newest = damaged_newest(kind, name, tmp_path, damage)
    found = loaded(make(kind, tmp_path))
    assert same(found, data) or name in ("figure", "json")
    if kind is CheckpointsDataset and damage is not flipped:
        return  # seen as a training that was cut off; tests/artifacts/test_checkpoints.py
    assert len(caplog.records) == 1
    assert "set aside" in caplog.text
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert not newest.exists()
    caplog.clear()
    assert make(kind, tmp_path).exists()
    loaded(make(kind, tmp_path))
    assert caplog.records == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_where_no_good_version_is_left_the_next_save_is(damage, tmp_path):
    make(JsonDataset, tmp_path).save({"seed": 1})
    damage(the_file(tmp_path))
    with pytest.raises(DatasetError, match=r"thing.*expected .*"):
        make(JsonDataset, tmp_path).load()
    assert not make(JsonDataset, tmp_path).exists()
    make(JsonDataset, tmp_path).save({"seed": 2})
    assert make(JsonDataset, tmp_path).load()["seed"] == 2


def test_a_version_that_is_asked_for_and_damaged_is_refused(tmp_path):
    newest = damaged_newest(JsonDataset, "json", tmp_path, flipped)
    pinned = make(JsonDataset, tmp_path, version=Version(newest.parent.name, None))
    with pytest.raises(DatasetError, match="expected the SHA-256"):
        pinned.load()
    assert newest.exists()


def test_content_that_says_nothing_is_refused_even_where_its_hash_is_right(tmp_path):
    for name, (kind, _) in EXAMPLES.items():
        folder = tmp_path / name
        target = make(kind, folder)
        path = Path(target._get_save_path())
        write_new(path / "epoch-0003.last.safetensors" if kind is CheckpointsDataset else path, b"\xff" * 100)
        with pytest.raises(DatasetError, match=f"expected what {kind.__name__} writes, got "):
            loaded(make(kind, folder))


def test_nothing_to_load_says_what_to_do(tmp_path):
    with pytest.raises(DatasetError, match="thing: expected a version, got none: run the pipeline that makes it"):
        make(JsonDataset, tmp_path).load()


def test_two_runs_in_the_same_millisecond_write_two_versions(tmp_path):
    stamp = Version(None, "2026-01-01T00.00.00.000Z")
    for number in (1, 2):
        make(JsonDataset, tmp_path, version=stamp).save({"number": number})
    assert len(make(JsonDataset, tmp_path).list_versions()) == 2
    assert make(JsonDataset, tmp_path).load()["number"] == 2


def test_a_clock_that_was_set_back_does_not_hide_what_is_written_later(tmp_path):
    for number, day in enumerate(("2026-01-02T00.00.00.000Z", "2026-01-01T00.00.00.000Z", "2025-01-01T00.00.00.000Z"), start=1):
        target = make(JsonDataset, tmp_path, version=Version(None, day))
        target.save({"number": number})
        assert target.load()["number"] == make(JsonDataset, tmp_path).load()["number"] == number


def test_versions_stand_beside_each_other(tmp_path):
    for number, day in ((1, "2026-01-01T00.00.00.000Z"), (2, "2026-01-02T00.00.00.000Z")):
        make(JsonDataset, tmp_path, version=Version(None, day)).save({"number": number})
    newest = make(JsonDataset, tmp_path)
    assert newest.load()["number"] == 2
    first = make(JsonDataset, tmp_path, version=Version(newest.list_versions(full_path=False)[-1], None))
    assert first.load()["number"] == 1


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


def of(folder, name, pixels=None, recipe="abc") -> ImagesDataset:
    return ImagesDataset(filepath=str(folder / name), recipe=recipe, pixels=pixels, version=Version(None, generate_timestamp()))


def test_pixels_that_another_set_has_are_not_written_again(tmp_path, clean):
    first = {"filepath": str(tmp_path / "clean"), "recipe": "abc"}
    second = {"filepath": str(tmp_path / "poisoned"), "recipe": "def", "pixels": first}
    of(tmp_path, "clean").save(clean)
    of(tmp_path, "poisoned", first, "def").save(replace(clean, seconds=2.0))
    projected = replace(clean, projection=Projection(basis=np.eye(768, 2, dtype=np.float32), centre=np.zeros(768, np.float32)))
    of(tmp_path, "recovered", second).save(projected)
    sizes = {name: path.stat().st_size for name in ("clean", "poisoned", "recovered") for path in (tmp_path / name).glob(f"*/{name}")}
    assert sizes["clean"] > clean.images.nbytes > max(sizes["poisoned"], sizes["recovered"])
    assert same(of(tmp_path, "poisoned", first, "def").load(), replace(clean, seconds=2.0))
    assert same(of(tmp_path, "recovered", second).load(), projected)
    changed = replace(clean, images=clean.images ^ 1)
    of(tmp_path, "changed", second).save(changed)
    shutil.rmtree(tmp_path / "clean")
    assert same(of(tmp_path, "changed").load(), changed)
    with pytest.raises(DatasetError, match="clean: expected a version, got none"):
        of(tmp_path, "recovered", second).load()
    assert not of(tmp_path, "recovered", second).exists()
    assert of(tmp_path, "changed", second).exists()


def test_previews_are_what_kedro_viz_shows(tmp_path):
    for name in ("json", "table", "figure"):
        kind, data = EXAMPLES[name]
        dataset = make(kind, tmp_path / name)
        dataset.save(data if name != "figure" else figure())
        assert dataset.preview()
