"""Every format as its authors publish it, against plain NumPy; and how often a release is read."""

import hashlib
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from kedro.io import DatasetError

from tests.conftest import ROOT
from tests.sources import releases
from tests.sources.releases import CLASSES, last, noise, part, poisoned_images, published
from unlearnable.artifacts.atomic import complete
from unlearnable.artifacts.packing import header, packed, unpacked
from unlearnable.errors import InputError
from unlearnable.sources.foreign import FORMATS, convert
from unlearnable.sources.foreign.readers import READERS
from unlearnable.sources.released import ReleasedPoison


def entry(tmp_path, path, kind, **more):
    return ReleasedPoison(path=str(path), format=kind, filepath=str(tmp_path / "copies"), **more).load()


def about(tmp_path):
    [copy] = (tmp_path / "copies").rglob("*.safetensors")
    assert complete(copy)
    return header(copy.read_bytes())


def truncated(levels):
    return levels.clip(0, 255).astype(np.uint8)


def em(clean, values, make=np.trunc):
    return make((clean.images.astype(np.float32) + values * np.float32(255)).clip(0, 255)).astype(np.uint8)


def unit(clean, values):
    return ((clean.images / 255 + values).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("clean", [published(), part()], ids=["whole", "part"])
class TestFormats:
    def test_a_folder_of_pngs_is_named_by_training_index(self, tmp_path, clean):
        images = poisoned_images(published())
        folder = releases.write_pngs(tmp_path / "tap", images)
        (folder / ".hidden").write_text("passed over")
        found = entry(tmp_path, folder, "png_folder", budget={"linf": 8 / 255}).poisoned(clean)
        assert np.array_equal(found.images, images[clean.ids])
        assert np.array_equal(found.ids, clean.ids)
        assert np.array_equal(found.labels, clean.labels)
        assert about(tmp_path)["form"] == "images"
        assert about(tmp_path)["rounding"] == "none"

    @pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
    @pytest.mark.parametrize(("rows", "form"), [(40, "sample-wise"), (CLASSES, "class-wise")])
    def test_the_shape_of_an_em_tensor_says_its_form_and_the_folder_does_not(self, tmp_path, clean, rows, form, new):
        folder = tmp_path / ("classwise" if form == "sample-wise" else "samplewise")
        folder.mkdir()
        values = noise(rows)
        path = releases.write_torch(folder / "perturbation.pt", values, _use_new_zipfile_serialization=new)
        found = entry(tmp_path, path, "em_tensor", budget={"linf": 8 / 255}).poisoned(clean)
        assert np.array_equal(found.images, em(clean, values[clean.ids if form == "sample-wise" else clean.labels]))
        assert about(tmp_path)["form"] == form
        assert about(tmp_path)["rounding"] == "truncate"

    def test_em_may_be_rounded_to_nearest_and_says_so(self, tmp_path, clean):
        path = releases.write_torch(tmp_path / "perturbation.pt", noise(40))
        found = entry(tmp_path, path, "em_tensor", rounding="nearest").poisoned(clean)
        assert np.array_equal(found.images, em(clean, noise(40)[clean.ids], np.round))
        assert about(tmp_path)["rounding"] == "nearest"

    @pytest.mark.parametrize(
        "tensor",
        [
            torch.nn.Parameter(torch.from_numpy(noise(40))),
            torch.from_numpy(noise(40)).to(memory_format=torch.channels_last),
            torch.from_numpy(noise(50))[10:],
        ],
        ids=["parameter", "channels last", "slice"],
    )
    def test_tensors_of_other_making_are_read_too(self, tmp_path, clean, tensor):
        path = releases.write_torch(tmp_path / "perturbation.pt", tensor)
        found = entry(tmp_path, path, "em_tensor").poisoned(clean)
        assert np.array_equal(found.images, em(clean, tensor.detach().numpy()[clean.ids]))

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("channels_last", [False, True])
    def test_rem_noise_is_whole_levels(self, tmp_path, clean, protocol, channels_last):
        levels = (noise(40) * 255).round().astype(np.int8)
        path = releases.write_pickle(tmp_path / "rem-fin-def-noise.pkl", last(levels) if channels_last else levels, protocol)
        found = entry(tmp_path, path, "rem_pickle", budget={"linf": 8 / 255}).poisoned(clean)
        assert np.array_equal(found.images, truncated(clean.images.astype(int) + levels[clean.ids]))
        assert about(tmp_path)["rounding"] == "none"

    @pytest.mark.parametrize("write", [releases.write_npy, releases.write_pickle, releases.write_torch])
    @pytest.mark.parametrize("kind", ["ops_array", "lsp_array"])
    def test_ops_and_lsp_perturbations_are_added_in_float64_and_cut_off(self, tmp_path, clean, write, kind):
        values = last(noise(40)).astype(np.float64)
        found = entry(tmp_path, write(tmp_path / "perturbation.npy", values), kind).poisoned(clean)
        assert np.array_equal(found.images, unit(clean, values.transpose(0, 3, 1, 2)[clean.ids]))
        assert about(tmp_path)["form"] == "sample-wise"

    def test_ops_changes_one_pixel_as_its_loader_does(self, tmp_path, clean):
        values = np.zeros((40, 8, 8, 3))
        values[:, 2, 5] = np.array([1.0, 0.0, 1.0]) - last(published().images)[:, 2, 5] / 255
        path = releases.write_npy(tmp_path / "perturbation.npy", values)
        found = entry(tmp_path, path, "ops_array", budget={"l0": 1}).poisoned(clean)
        assert np.array_equal(found.images, unit(clean, values.transpose(0, 3, 1, 2)[clean.ids]))
        assert float(about(tmp_path)["l0"]) == 1

    def test_ops_may_be_class_wise_universal_or_images(self, tmp_path, clean):
        values = last(noise(CLASSES))
        classwise = entry(tmp_path / "c", releases.write_npy(tmp_path / "classes.npy", values), "ops_array").poisoned(clean)
        assert np.array_equal(classwise.images, unit(clean, noise(CLASSES)[clean.labels]))
        universal = entry(tmp_path / "u", releases.write_npy(tmp_path / "one.npy", values[0]), "ops_array").poisoned(clean)
        assert np.array_equal(universal.images, unit(clean, noise(CLASSES)[:1]))
        images = poisoned_images(published())
        stored = entry(tmp_path / "i", releases.write_npy(tmp_path / "images.npy", last(images)), "ops_array").poisoned(clean)
        assert np.array_equal(stored.images, images[clean.ids])
        assert [about(tmp_path / folder)["form"] for folder in "cui"] == ["class-wise", "universal", "images"]

    @pytest.mark.parametrize("one_hot", [True, False])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_ntga_is_matched_by_content(self, tmp_path, clean, one_hot, dtype):
        order, floats = releases.write_ntga(tmp_path / "ntga", one_hot=one_hot, dtype=dtype)
        found = entry(tmp_path, tmp_path / "ntga", "ntga_arrays").poisoned(clean)
        rows = [row for row, index in enumerate(order) if index in clean.ids]
        assert np.array_equal(found.ids, order[rows])
        assert np.array_equal(found.labels, published().labels[order[rows]])
        assert np.array_equal(found.images, (floats[rows] * 255).astype(np.uint8).transpose(0, 3, 1, 2))
        assert about(tmp_path)["form"] == "images, matched by content"
        assert about(tmp_path)["rounding"] == "truncate"
        if len(clean) == 40:
            assert len(found) == 30


@pytest.mark.usefixtures("here")
def test_ntga_images_may_be_levels(tmp_path):
    order, floats = releases.write_ntga(tmp_path / "ntga")
    levels = (floats * 255).round().astype(np.uint8)
    releases.write_npy(tmp_path / "ntga" / "x_train_cifar10_ntga_cnn_best.npy", levels)
    found = entry(tmp_path, tmp_path / "ntga", "ntga_arrays").poisoned(published())
    assert np.array_equal(found.images, levels.transpose(0, 3, 1, 2))
    assert np.array_equal(found.ids, order)


@pytest.mark.usefixtures("here")
def test_lsp_hands_out_its_values_class_by_class(tmp_path):
    values, labels = releases.write_lsp(tmp_path / "lsp")
    clean = published()
    found = entry(tmp_path, tmp_path / "lsp", "lsp_array").poisoned(clean)
    expected = np.empty(clean.images.shape)
    for label in range(CLASSES):
        members = np.flatnonzero(clean.labels == label)
        expected[members] = values.transpose(0, 3, 1, 2)[labels == label][: len(members)]
    assert np.array_equal(found.images, unit(clean, expected))
    assert about(tmp_path)["form"] == "sample-wise, by class"


@pytest.fixture
def rem(tmp_path):
    """A release, and its entry, to be read in a child process."""
    levels = (noise(40) * 255).round().astype(np.int8)
    return entry(tmp_path, releases.write_pickle(tmp_path / "noise.pkl", levels), "rem_pickle", budget={"linf": 8 / 255}), levels


def test_a_release_is_read_once_in_a_child_and_says_what_it_was(tmp_path, rem, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="unlearnable")
    released, levels = rem
    clean = part()
    first = released.poisoned(clean)
    assert np.array_equal(first.images, truncated(clean.images.astype(int) + levels[clean.ids]))
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("read twice"))
    second = released.poisoned(clean)
    assert np.array_equal(first.images, second.images)
    found = about(tmp_path)
    assert found["ids_sha256"] == hashlib.sha256(clean.ids.tobytes()).hexdigest()
    assert found["format"] == "rem_pickle"
    assert found["count"] == "24"
    assert len(found["source_sha256"]) == 64
    assert float(found["linf"]) == pytest.approx(8 / 255, abs=1e-9)
    line = "rem_pickle: sample-wise, 24 images, rounding none, largest Linf 0.0314, L2"
    assert [line in record.getMessage() for record in caplog.records] == [True, True]


@pytest.mark.usefixtures("here")
def test_other_bytes_settings_or_images_are_another_copy(tmp_path, rem):
    released, levels = rem
    released.poisoned(part())
    released.poisoned(published())
    entry(tmp_path, released.path, "rem_pickle").poisoned(part())
    releases.write_pickle(Path(released.path), levels // 2)
    released.poisoned(part())
    released.poisoned(replace(part(), images=part().images[::-1]))
    assert len(list((tmp_path / "copies").rglob("*.safetensors"))) == 5


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"!", lambda content: content[:-1], lambda content: b""])
def test_a_damaged_copy_is_set_aside_and_made_anew(damage, tmp_path, rem, caplog):
    first = rem[0].poisoned(part())
    [copy] = (tmp_path / "copies").rglob("*.safetensors")
    copy.write_bytes(damage(copy.read_bytes()))
    caplog.clear()
    assert np.array_equal(rem[0].poisoned(part()).images, first.images)
    assert "a damaged copy was set aside" in caplog.text
    assert complete(copy)
    assert copy.with_name("poisoned.safetensors.damaged").exists()


def test_an_entry_opens_nothing(tmp_path):
    """The pipe would hang whoever opened it."""
    os.mkfifo(tmp_path / "pipe")
    entry(tmp_path, tmp_path / "pipe", "em_tensor").check()
    with pytest.raises(DatasetError, match="only read"):
        ReleasedPoison(filepath=str(tmp_path)).save(1)


def test_the_child_imports_neither_torch_nor_kedro():
    code = f"import sys, {convert.__name__}; sys.exit(str({{'torch', 'kedro', 'mlflow', 'sklearn'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_the_child_can_write_no_file(tmp_path):
    code = f"""
import sys
from {convert.__name__} import limit
limit(2**30, 60)
open(sys.argv[1], "w").write("x" * 100000)
"""
    env = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], env=env, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr


def test_every_format_is_described_and_has_a_reader():
    assert set(FORMATS) == set(READERS)
    for name in FORMATS:
        assert name in (ReleasedPoison.__doc__ or "")
        assert f"`{name}`" in (ROOT / "docs" / "datasets.md").read_text()


def test_no_other_name_than_those_of_arrays_is_known():
    from unlearnable.sources.foreign.pickles import KNOWN

    ours = {thing.__module__ for thing in KNOWN.values() if thing is not dict}
    assert ours == {"unlearnable.sources.foreign.pickles"}
    assert pickle.loads not in KNOWN.values()


def test_a_copy_is_plain_safetensors(tmp_path, rem):
    rem[0].poisoned(part())
    [copy] = (tmp_path / "copies").rglob("*.safetensors")
    assert set(safetensors.numpy.load(copy.read_bytes())) == {"images", "labels", "ids"}


def test_what_the_child_packs_is_what_the_library_packs(tmp_path):
    clean = part()
    tensors = {"images": clean.images, "labels": clean.labels, "ids": clean.ids}
    found = unpacked(safetensors.numpy.save(tensors, metadata={"a": "b"}))
    ours = b"".join(packed(tensors, {"a": "b"}))
    theirs = safetensors.numpy.load(ours)
    for name, tensor in tensors.items():
        assert np.array_equal(found[name], tensor)
        assert np.array_equal(theirs[name], tensor)
    assert header(ours) == {"a": "b"}


@pytest.mark.parametrize("gib", [0.12, 0.2])
def test_a_limit_that_is_too_low_ends_the_child_with_a_line(tmp_path, gib):
    """Wherever memory ends, nothing hangs: 64 MB of clean images are on their way."""
    clean = releases.published(40)
    many = type(clean)(images=np.tile(clean.images[:1], (350_000, 1, 1, 1)), labels=np.zeros(350_000, np.int64), num_classes=CLASSES)
    path = releases.write_npy(tmp_path / "perturbation.npy", np.zeros((CLASSES, 8, 8, 3)))
    with pytest.raises(InputError, match=rf"expected to need at most {gib} GiB of memory, got more"):
        entry(tmp_path, path, "ops_array", memory_gib=gib, timeout_s=30).poisoned(many)
