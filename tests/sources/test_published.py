"""Datasets that torchvision reads, in their makers' own files."""

import numpy as np
import pytest
from kedro.io import DatasetError

from tests.sources import formats
from unlearnable.errors import InputError
from unlearnable.sources.raw import TorchvisionImages

WRITERS = {
    "CIFAR100": (formats.write_cifar100, (200, 3, 32, 32), 100),
    "SVHN": (formats.write_svhn, (200, 3, 32, 32), 10),
    "MNIST": (formats.write_mnist, (100, 3, 28, 28), 10),
}


@pytest.mark.parametrize("name", WRITERS)
def test_it_is_read_from_its_own_files(name, tmp_path):
    write, shape, classes = WRITERS[name]
    raw = TorchvisionImages(name=name, path=str(tmp_path), md5=write(tmp_path)).load()
    assert raw.train.images.shape == shape
    assert raw.train.num_classes == raw.test.num_classes == classes
    side, channels = shape[-1], 1 if name == "MNIST" else 3
    for place, part in enumerate((raw.train, raw.test)):
        images, labels = formats.pictures(len(part), classes=classes, side=side, channels=channels, seed=place)
        assert np.array_equal(part.labels, labels)
        assert np.array_equal(part.images.transpose(0, 2, 3, 1), np.broadcast_to(images, (len(part), side, side, 3)))


def test_grey_images_may_keep_their_one_channel(tmp_path):
    raw = TorchvisionImages(name="MNIST", path=str(tmp_path), md5=formats.write_mnist(tmp_path), channels=1).load()
    assert raw.train.shape == (1, 28, 28)


def test_the_other_sets_of_mnists_form_lie_in_their_own_folders(tmp_path):
    md5 = formats.write_mnist(tmp_path, name="FashionMNIST")
    assert TorchvisionImages(name="FashionMNIST", path=str(tmp_path), md5=md5).load().train.shape == (3, 28, 28)


@pytest.mark.parametrize(("name", "file"), [("SVHN", "test_32x32.mat"), ("MNIST", "t10k-labels-idx1-ubyte.gz"), ("CIFAR100", "train")])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_file_that_is_missing_or_damaged_is_named(name, file, how, tmp_path):
    md5 = WRITERS[name][0](tmp_path)
    [path] = tmp_path.rglob(file)
    path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:-1])
    message = f"expected the file {path}, which is missing" if how == "missing" else f"{path} is damaged: expected MD5 {md5[file]}"
    with pytest.raises(DatasetError) as error:
        TorchvisionImages(name=name, path=str(tmp_path), md5=md5).load()
    assert str(error.value.__cause__).startswith(f"raw_images: {message}")


@pytest.mark.parametrize(
    ("name", "wanted"), [("SVHN", "train_32x32.mat, test_32x32.mat"), ("MNIST", "MNIST/raw"), ("CIFAR100", "cifar-100-python")]
)
def test_a_download_without_a_network_is_one_line(name, wanted, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no\nnetwork")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("urllib.request.urlretrieve", refuse)
    with pytest.raises(DatasetError) as error:
        TorchvisionImages(name=name, path=str(tmp_path / "empty")).load()
    line = str(error.value.__cause__)
    assert line.startswith(f"raw_images: expected {wanted} in {tmp_path / 'empty'}, got none, and the download failed (")
    assert line.endswith("; set data_root to a folder that holds it")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "CIFAR11"}, r"expected name CIFAR10, CIFAR100, .* or KMNIST, got 'CIFAR11' \(did you mean 'CIFAR1"),
        ({"name": "SVHN", "channels": 2}, r"raw_images.channels: expected 1 or 3, got 2"),
    ],
)
def test_a_wrong_setting_is_one_line(change, message):
    with pytest.raises(InputError, match=message):
        TorchvisionImages(path=".", **change)
