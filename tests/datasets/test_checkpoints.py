"""Checkpoints: a version is there once the last one is; what was cut off is gone on from."""

import pytest
import torch
from kedro.io import DatasetError, Version

from tests.datasets.test_artifacts import checkpoint, make, same
from unlearnable.datasets.atomic import Hold, sidecar
from unlearnable.datasets.checkpoints import CheckpointsDataset, UnfinishedDataset
from unlearnable.training import Checkpoint


def step(epoch, epochs=5) -> Checkpoint:
    """A checkpoint with what goes on from it, but for the last."""
    training = {} if epoch == epochs else {"steps_done": torch.tensor(epoch)}
    return Checkpoint(**{**{name: getattr(checkpoint(epoch, epochs), name) for name in Checkpoint.__slots__}, "training": training})


def cut_off(folder, epochs, **more) -> CheckpointsDataset:
    """Save some epochs, as a run does that is then killed."""
    dataset = make(CheckpointsDataset, folder, **more)
    for epoch in epochs:
        dataset.save(step(epoch))
    dataset.release()
    return dataset


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
    found = make(UnfinishedDataset, tmp_path).load()
    assert epochs(found) == [1, 2, 3]
    assert [dict(each.training) for each in found] == [{}, {"steps_done": torch.tensor(2)}, {"steps_done": torch.tensor(3)}]


@pytest.mark.parametrize("left", [[], [1], [1, 2]])
def test_nothing_is_loaded_where_nothing_was_cut_off(left, tmp_path):
    if left:
        cut_off(tmp_path, [*left, 5])
    assert list(make(UnfinishedDataset, tmp_path).load()) == []


def test_the_training_that_came_furthest_is_gone_on_from(tmp_path):
    cut_off(tmp_path, [1, 2, 3], version=Version(None, "2026-01-01T00.00.00.000Z"))
    cut_off(tmp_path, [1, 2], version=Version(None, "2026-01-02T00.00.00.000Z"))
    assert epochs(make(UnfinishedDataset, tmp_path).load()) == [1, 2, 3]


def test_a_training_that_goes_on_elsewhere_is_left_to_it(tmp_path):
    living = make(CheckpointsDataset, tmp_path)
    living.save(step(1))
    assert list(make(UnfinishedDataset, tmp_path).load()) == []
    living.release()
    first = make(UnfinishedDataset, tmp_path)
    assert epochs(first.load()) == [1]
    assert list(make(UnfinishedDataset, tmp_path).load()) == []  # the first one goes on from it


def test_what_was_cut_off_is_removed_once_a_training_has_ended(tmp_path):
    cut_off(tmp_path, [1, 2])
    unfinished, target = make(UnfinishedDataset, tmp_path), make(CheckpointsDataset, tmp_path)
    for each in unfinished.load():
        target.save(each)
    unfinished.release()
    assert len(list(tmp_path.glob("thing/*"))) == 2
    target.save(step(3))
    target.save(step(5))
    unfinished.release()
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
    found = make(UnfinishedDataset, tmp_path).load()
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
        list(make(UnfinishedDataset, tmp_path, recipe="other").load())


def test_a_killed_save_between_its_two_files_is_gone_on_from_the_epoch_before(tmp_path):
    cut_off(tmp_path, [1, 2])
    [file] = tmp_path.rglob("epoch-0002.safetensors")
    file.unlink()
    sidecar(file).unlink()
    assert epochs(make(UnfinishedDataset, tmp_path).load()) == [1]


def test_a_hold_that_nobody_lets_go_ends_with_its_object(tmp_path):
    cut_off(tmp_path, [1])
    hold = Hold(next(tmp_path.glob("thing/*/thing")))
    assert list(make(UnfinishedDataset, tmp_path).load()) == []
    del hold
    assert epochs(make(UnfinishedDataset, tmp_path).load()) == [1]


def test_unfinished_checkpoints_are_only_read(tmp_path):
    with pytest.raises(DatasetError, match="only read"):
        make(UnfinishedDataset, tmp_path).save(step(1))
