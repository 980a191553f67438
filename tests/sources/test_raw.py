from dataclasses import replace

import numpy as np
import pytest
from kedro.io import DatasetError

from tests.conftest import make_images
from tests.sources.cifar import write_cifar10
from unlearnable.errors import InputError
from unlearnable.sources.digits import DigitsOnPhotographs, _blend
from unlearnable.sources.raw import RawImages, TorchvisionImages


def built_in(**change):
    return DigitsOnPhotographs(**{"name": "digits", "train_size": 60, "test_size": 20, "seed": 0} | change)


def test_the_built_in_dataset_is_made_from_its_seed(global_generators_untouched):
    first, again, other = built_in().load(), built_in().load(), built_in(seed=1).load()
    assert first.train.images.shape == (60, 3, 32, 32)
    assert first.test.images.shape == (20, 3, 32, 32)
    assert np.array_equal(first.train.images, again.train.images)
    assert not np.array_equal(first.train.images, other.train.images)
    assert set(np.bincount(first.train.labels)) == {6}


def test_no_digit_is_in_both_sets(monkeypatch):
    used = []
    monkeypatch.setattr("unlearnable.sources.digits._blend", lambda digits, *rest: used.append(digits) or _blend(digits, *rest))
    built_in().load()
    train, test = ({digit.tobytes() for digit in digits} for digits in used)
    assert len(train) > 1000
    assert not train & test


def test_changed_sources_are_noticed():
    with pytest.raises(DatasetError, match="expected scikit-learn's digits and photographs with SHA-256 0000"):
        built_in(sha256="0000").load()


def test_a_dataset_only_loads():
    with pytest.raises(DatasetError, match="only loads"):
        built_in().save(1)


def test_cifar10_is_read_from_a_folder_in_its_own_format(tmp_path):
    images, md5 = write_cifar10(tmp_path)
    raw = TorchvisionImages(name="CIFAR10", path=str(tmp_path), md5=md5).load()
    assert len(raw.train) == 50
    assert len(raw.test) == 10
    assert np.array_equal(np.concatenate([raw.train.images, raw.test.images]), images)


def test_files_that_are_not_the_published_ones_are_never_unpickled(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    monkeypatch.setattr("pickle.load", lambda *args, **kwargs: pytest.fail("unpickled before its MD5 was checked"))
    with pytest.raises(DatasetError, match=r"data_batch_1 is damaged: expected MD5 c99cafc152244af753f735de768cd75f"):
        TorchvisionImages(name="CIFAR10", path=str(tmp_path)).load()


def test_a_missing_file_is_named(tmp_path):
    _, md5 = write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DatasetError, match=r"expected the file .*data_batch_3, which is missing"):
        TorchvisionImages(name="CIFAR10", path=str(tmp_path), md5=md5).load()


def test_a_damaged_file_is_named(tmp_path):
    _, md5 = write_cifar10(tmp_path)
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"test_batch is damaged: expected MD5"):
        TorchvisionImages(name="CIFAR10", path=str(tmp_path), md5=md5).load()


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    with pytest.raises(
        DatasetError, match=r"expected cifar-10-batches-py in .*empty, got none, and the download failed \(no network\); set data_root"
    ):
        TorchvisionImages(name="CIFAR10", path=str(tmp_path / "empty")).load()


def test_an_unknown_torchvision_dataset_is_refused():
    with pytest.raises(InputError, match="expected name CIFAR10, CIFAR100, SVHN, MNIST, FashionMNIST or KMNIST, got 'STL10'"):
        TorchvisionImages(name="STL10", path=".")


def test_test_images_among_the_training_images_are_refused_and_a_few_of_many_are_not():
    train, test = make_images(60, classes=3), make_images(300, classes=3, seed=1)
    images = test.images.copy()
    images[[5, 9, 10]] = train.images[[0, 1, 2]]
    RawImages(train=train, test=replace(test, images=images))  # one in a hundred
    images[200] = train.images[3]
    with pytest.raises(InputError, match=r"raw_images: expected at most 1% of .*, got 4 of 300; the first is test image 5"):
        RawImages(train=train, test=replace(test, images=images))


@pytest.mark.parametrize(("parts", "name"), [((0, 1), "test"), ((1, 0), "training")])
def test_a_set_without_a_class_is_refused(parts, name):
    whole = make_images(60, classes=3)
    sets = [whole.subset(np.arange(0, 30)), make_images(60, classes=3, seed=1)]
    sets[parts[1]] = sets[parts[1]].subset(np.flatnonzero(sets[parts[1]].labels))
    with pytest.raises(InputError, match=f"raw_images, {name} set: expected images of each of the 3 classes, got none of class 0"):
        RawImages(train=sets[0], test=sets[1])
