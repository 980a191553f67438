"""Checkpoints: a version is there once the last one is; what was cut off is gone on from."""

import logging
from dataclasses import replace

import pytest
import torch
from kedro.io import DatasetError, Version

from tests.artifacts.test_artifacts import checkpoint, make, same
from unlearnable.artifacts.atomic import Hold, sidecar
from unlearnable.artifacts.checkpoints import Checkpoints, CheckpointsDataset
from unlearnable.training import Checkpoint


def step(epoch, epochs=5, made_on=None) -> Checkpoint:
    """A checkpoint with what goes on from it, but for the last."""
    training = {} if epoch == epochs else {"steps_done": torch.tensor(epoch)}
    return replace(checkpoint(epoch, epochs), training=training, made_on=made_on or {})


def cut_off(folder, epochs, made_on=None, **more) -> CheckpointsDataset:
    """Save some epochs, as a run does that is then killed."""
    dataset = make(CheckpointsDataset, folder, **more)
    for epoch in epochs:
        dataset.save(step(epoch, made_on=made_on))
    dataset.release()
    return dataset


def gone_on_from(folder, here=None, **more) -> Checkpoints:
    return make(CheckpointsDataset, folder, **more).to_go_on_from(here or {})


def epochs(checkpoints) -> list[int]:
    return [each.epoch for each in checkpoints]


def test_checkpoints_are_there_once_the_last_one_is(tmp_path):
    dataset = make(CheckpointsDataset, tmp_path)
    for epoch in (1, 2):
        dataset.save(checkpoint(epoch))
        assert not make(CheckpointsDataset, tmp_path).exists()
    dataset.save(checkpoint(3))
    found = make(CheckpointsDataset, tmp_path).load()
    assert epochs(found) == [1, 2, 3]
    assert epochs(found[1:]) == [2, 3]
    assert same(found[0], checkpoint(1))


def test_only_the_newest_checkpoints_are_kept_where_asked(tmp_path):
    dataset = make(CheckpointsDataset, tmp_path, keep=2)
    for epoch in (1, 2, 3):
        dataset.save(checkpoint(epoch))
    assert epochs(dataset.load()) == [2, 3]
    assert len(list(tmp_path.rglob("*.sha256"))) == 2


def test_an_unfinished_training_does_not_hide_a_finished_one(tmp_path):
    make(CheckpointsDataset, tmp_path, version=Version(None, "2026-01-01")).save(checkpoint(3))
    make(CheckpointsDataset, tmp_path, version=Version(None, "2026-01-02")).save(checkpoint(1))
    assert epochs(make(CheckpointsDataset, tmp_path).load()) == [3]


def test_what_was_cut_off_is_loaded_with_what_goes_on_from_it(tmp_path):
    cut_off(tmp_path, [1, 2, 3])
    found = gone_on_from(tmp_path)
    assert epochs(found) == [1, 2, 3]
    assert [dict(each.training) for each in found] == [{}, {"steps_done": torch.tensor(2)}, {"steps_done": torch.tensor(3)}]


@pytest.mark.parametrize("left", [[], [1], [1, 2]])
def test_nothing_is_loaded_where_nothing_was_cut_off(left, tmp_path):
    if left:
        cut_off(tmp_path, [*left, 5])
    assert list(gone_on_from(tmp_path)) == []


def test_the_training_that_came_furthest_is_gone_on_from(tmp_path):
    cut_off(tmp_path, [1, 2, 3], version=Version(None, "2026-01-01T00.00.00.000Z"))
    cut_off(tmp_path, [1, 2], version=Version(None, "2026-01-02T00.00.00.000Z"))
    assert epochs(gone_on_from(tmp_path)) == [1, 2, 3]


GPU, CPU = {"device": "cuda", "precision": "bfloat16"}, {"device": "cpu", "precision": "float32"}


@pytest.mark.parametrize("there", [GPU, CPU | {"precision": "bfloat16"}, CPU | {"device": "cuda"}])
def test_what_was_begun_on_something_else_is_said_and_left_as_it_is(there, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cut_off(tmp_path, [1, 2, 3], made_on=there | {"name": "x"})
    assert epochs(gone_on_from(tmp_path, CPU)) == []
    begun = f"a {'GPU' if there['device'] == 'cuda' else 'CPU'} in {there['precision']}"
    said = f"a training that began on {begun} starts again here, on a CPU in float32: {tmp_path / 'thing'}"
    assert [record.getMessage() for record in caplog.records] == [said]
    assert epochs(gone_on_from(tmp_path, there | {"name": "y"})) == [1, 2, 3]  # another card of the kind is not something else


def test_what_was_begun_anew_here_is_gone_on_from_where_another_came_further_elsewhere(tmp_path):
    cut_off(tmp_path, [1, 2, 3], made_on=GPU, version=Version(None, "2026-01-01T00.00.00.000Z"))
    cut_off(tmp_path, [1, 2], made_on=CPU, version=Version(None, "2026-01-02T00.00.00.000Z"))
    assert epochs(gone_on_from(tmp_path, CPU)) == [1, 2]
    assert epochs(gone_on_from(tmp_path, GPU)) == [1, 2, 3]  # which nobody holds


def test_what_was_begun_elsewhere_is_removed_once_a_training_has_ended(tmp_path):
    cut_off(tmp_path, [1, 2], made_on=GPU)
    target = make(CheckpointsDataset, tmp_path)
    assert epochs(target.to_go_on_from(CPU)) == []
    target.save(step(1, made_on=CPU))
    assert len(list(tmp_path.glob("thing/*"))) == 2
    target.save(step(5, made_on=CPU))
    assert [path.name for path in tmp_path.glob("thing/*")] == [target.resolve_save_version()]


def test_where_nobody_noted_what_it_was_made_on_it_is_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckpointsDataset, "encode", written_before)
    cut_off(tmp_path, [1, 2])
    monkeypatch.undo()
    found = gone_on_from(tmp_path, GPU)
    assert (epochs(found), found[-1].made_on) == ([1, 2], {})


def written_before(dataset, data) -> bytes:
    """As a checkpoint was written that did not say what it was made on."""
    return dataset._packed(data.state, {"epoch": data.epoch, "epochs": data.epochs, "history": data.history})


def test_a_training_that_goes_on_elsewhere_is_left_to_it(tmp_path):
    living = make(CheckpointsDataset, tmp_path)
    living.save(step(1))
    assert list(gone_on_from(tmp_path)) == []
    living.release()
    first = make(CheckpointsDataset, tmp_path)
    assert epochs(first.to_go_on_from({})) == [1]
    assert list(gone_on_from(tmp_path)) == []  # the first one goes on from it


def test_what_was_cut_off_is_removed_once_a_training_has_ended(tmp_path):
    cut_off(tmp_path, [1, 2])
    target = make(CheckpointsDataset, tmp_path)
    for each in target.to_go_on_from({}):
        target.save(each)
    assert len(list(tmp_path.glob("thing/*"))) == 2
    target.save(step(3))
    target.save(step(5))
    assert [path.name for path in tmp_path.glob("thing/*")] == [target.resolve_save_version()]
    assert epochs(make(CheckpointsDataset, tmp_path).load()) == [1, 2, 3, 5]
    assert not list(tmp_path.rglob("training-*"))


def test_what_goes_on_is_kept_of_the_newest_two(tmp_path):
    cut_off(tmp_path, [1, 2, 3, 4])
    assert sorted(path.name for path in tmp_path.rglob("training-*.safetensors")) == [f"training-000{n}.safetensors" for n in (3, 4)]


@pytest.mark.parametrize("what", ["epoch-0003", "training-0003"])
@pytest.mark.parametrize("keep", [0, 2])
def test_where_the_newest_checkpoint_is_damaged_the_one_before_is_gone_on_from(what, keep, tmp_path):
    cut_off(tmp_path, [1, 2, 3], keep=keep)
    [file] = tmp_path.rglob(f"{what}.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    found = gone_on_from(tmp_path)
    assert epochs(found)[-1] == 2
    assert found[-1].training


def test_a_damaged_checkpoint_of_a_whole_training_makes_it_one_that_was_cut_off(tmp_path, caplog):
    cut_off(tmp_path, [1, 2, 3, 5])
    [file] = tmp_path.rglob("epoch-0002.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"expected the checkpoints of a whole training, got 1 .* run again"):
        make(CheckpointsDataset, tmp_path).load()
    assert [record.getMessage().count("set aside") for record in caplog.records] == [1]
    assert not make(CheckpointsDataset, tmp_path).exists()


def test_a_version_that_is_asked_for_and_not_whole_is_refused(tmp_path):
    version = cut_off(tmp_path, [1, 2]).resolve_save_version()
    for asked_for in (version, "2020-01-01"):
        with pytest.raises(DatasetError, match="expected the checkpoints of a whole training"):
            make(CheckpointsDataset, tmp_path, version=Version(asked_for, None)).load()


def test_checkpoints_of_another_recipe_are_refused(tmp_path):
    cut_off(tmp_path, [1, 2])
    with pytest.raises(DatasetError, match="expected an artifact of recipe other, got abc"):
        list(gone_on_from(tmp_path, recipe="other"))


def test_a_killed_save_between_its_two_files_is_gone_on_from_the_epoch_before(tmp_path):
    cut_off(tmp_path, [1, 2])
    [file] = tmp_path.rglob("epoch-0002.safetensors")
    file.unlink()
    sidecar(file).unlink()
    assert epochs(gone_on_from(tmp_path)) == [1]


def test_a_hold_that_nobody_lets_go_ends_with_its_object(tmp_path):
    cut_off(tmp_path, [1])
    hold = Hold(next(tmp_path.glob("thing/*/thing")))
    assert list(gone_on_from(tmp_path)) == []
    del hold
    assert epochs(gone_on_from(tmp_path)) == [1]
