"""A user's own images in folders."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image

from tests.datasets.formats import spoil_folder, write_folder, write_imagenet
from unlearnable.datasets.decoded import Frame
from unlearnable.datasets.folder import FolderImages
from unlearnable.errors import InputError


def folder(tmp_path: Path, **change) -> FolderImages:
    return FolderImages(**{"name": "mine", "path": str(tmp_path / "images"), "filepath": str(tmp_path / "decoded")} | change)


@pytest.fixture
def images(tmp_path) -> Path:
    write_folder(tmp_path / "images", classes=3, each=10)
    return tmp_path / "images"


def refusal(*given, **change) -> str:
    """Return the line that says why a folder cannot be read; Kedro wraps it, and a hook of the project unwraps it."""
    try:
        folder(*given, **change).load()
    except DatasetError as error:
        return str(error.__cause__)
    except InputError as error:
        return str(error)
    return "nothing is wrong"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def test_images_of_one_size_are_taken_as_they_are(tmp_path, images):
    raw = folder(tmp_path).load()
    assert (len(raw.train), len(raw.test), raw.train.num_classes) == (24, 6, 3)
    assert np.bincount(raw.test.labels).tolist() == [2, 2, 2]
    there = {pixels(path).tobytes(): path.parent.name for path in images.rglob("*.png")}
    for part in (raw.train, raw.test):
        assert [there[image.tobytes()] for image in part.images] == [f"class_{label:03}" for label in part.labels]


def test_the_split_goes_by_name_and_seed_alone(tmp_path, images):
    """So a protected copy, in another format, is split as its original."""
    shutil.copytree(images, tmp_path / "copy" / "images")
    for path in (tmp_path / "copy" / "images").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path.with_suffix(".bmp"))
        path.unlink()
    original, copy, other = (
        folder(place, split_seed=seed).load() for place, seed in ((tmp_path, 0), (tmp_path / "copy", 0), (tmp_path, 1))
    )
    assert np.array_equal(original.test.images, 255 - copy.test.images)
    assert np.array_equal(original.train.images, 255 - copy.train.images)
    assert not np.array_equal(original.test.images, other.test.images)


def test_decoding_happens_once(tmp_path, images, monkeypatch):
    first = folder(tmp_path).load()
    monkeypatch.setattr("unlearnable.datasets.decoded._pixels", lambda *_: pytest.fail("decoded again"))
    again = folder(tmp_path).load()
    assert np.array_equal(first.train.images, again.train.images)


def test_changed_bytes_are_decoded_anew(tmp_path, images):
    first = folder(tmp_path).load()
    path = min(images.rglob("*.png"))
    Image.new("RGB", (32, 32)).save(path)
    assert not np.array_equal(first.train.images, folder(tmp_path).load().train.images)


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1] + bytes([content[-1] ^ 1]), lambda content: content[:-1]], ids=["bit", "end"]
)
def test_a_damaged_copy_is_set_aside_and_decoded_anew(damage, tmp_path, images, caplog):
    first = folder(tmp_path).load()
    [copy] = (tmp_path / "decoded").rglob("train.safetensors")
    copy.write_bytes(damage(copy.read_bytes()))
    assert np.array_equal(first.train.images, folder(tmp_path).load().train.images)
    assert "a damaged copy was set aside" in caplog.text


def test_large_sets_are_mapped(tmp_path, images, monkeypatch):
    monkeypatch.setattr("unlearnable.datasets.atomic.LARGE", 1000)
    raw = folder(tmp_path).load()
    base = raw.train.images
    while base.base is not None and not isinstance(base.base, memoryview):
        base = base.base
    assert type(base.base.obj).__name__ == "mmap"


@pytest.mark.parametrize(("side", "resize"), [(32, None), (24, None), (24, 32)])
def test_other_sizes_are_resized_and_cut_in_the_middle(tmp_path, side, resize):
    write_folder(tmp_path / "images", classes=2, each=3, side=(64, 48))
    raw = folder(tmp_path, side=side, resize=resize).load()
    path = tmp_path / "images" / "class_000"
    wanted = []
    for file in sorted(path.iterdir()):
        shorter = resize or side
        width = round(64 * shorter / 48)
        image = Image.open(file).resize((width, shorter), Image.Resampling.BILINEAR)
        left, top = (width - side) // 2, (shorter - side) // 2
        wanted.append(np.asarray(image.crop((left, top, left + side, top + side))).transpose(2, 0, 1).tobytes())
    got = [image.tobytes() for part in (raw.train, raw.test) for image in part.images[part.labels == 0]]
    assert sorted(got) == sorted(wanted)


def test_imagenets_folders(tmp_path):
    write_imagenet(tmp_path / "images", classes=5, each=4)
    raw = folder(tmp_path, side=32, resize=36, train="train", test="val", classes=3).load()
    assert (len(raw.train), len(raw.test), raw.train.num_classes) == (12, 3, 3)
    chosen = folder(tmp_path, side=32, train="train", test="val", classes=["n00000004", "n00000001"]).load()
    assert chosen.train.num_classes == 2
    assert np.array_equal(chosen.train.images[0], FRAME.pixels(Image.open(tmp_path / "images/train/n00000004/n00000004_14.JPEG")))


FRAME = Frame(side=32)


def test_a_photograph_is_turned_as_its_camera_says():
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image = Image.fromarray(np.repeat(np.arange(32, dtype=np.uint8)[:, None] * 8, 32, axis=1))
    image.save(buffer, "png", exif=exif)
    turned = Frame(side=None, channels=1).pixels(Image.open(buffer))
    assert np.array_equal(turned[0], np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes_of_eight_bits_become_rgb(mode):
    assert FRAME.pixels(Image.new(mode, (40, 32))).shape == (3, 32, 32)


@pytest.mark.parametrize(("mode", "got"), [("RGBA", "transparency"), ("LA", "transparency"), ("I;16", "mode I;16"), ("F", "mode F")])
def test_what_would_lose_something_is_refused(mode, got):
    with pytest.raises(InputError, match=f"^expected grey or RGB of eight bits, without transparency, got {got}$"):
        FRAME.pixels(Image.new(mode, (32, 32)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty class", r"expected at least 2 images \(.*\) in .*class_003, got 0"),
        ("one image", r"expected at least 2 images \(.*\) in .*class_001, got 1"),
        (
            "undecodable",
            r".*class_001/00013.png: expected an image that can be decoded \(JPEG, PNG, WEBP, BMP\), got image file is truncated.*",
        ),
        ("no image", r".*class_001/00013.png: expected an image that can be decoded \(.*\), got cannot identify image file.*"),
        ("mixed sizes", r".*class_001/00013.png: expected 32x32 pixels as the first image, got 30x32; side: makes them one size"),
        ("RGBA", r".*00013.png: expected grey or RGB of eight bits, without transparency, got transparency"),
        ("I;16", r".*00013.png: expected grey or RGB of eight bits, without transparency, got mode I;16"),
        ("missing", r"expected the folder .*images, which is missing"),
        ("no folders", r"expected a folder for each class in .*images, got none"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, images, how, message):
    spoil_folder(images, how)
    assert re.fullmatch(f"raw_images: {message}", refusal(tmp_path))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 0}, r"raw_images.side: expected a whole number from 1 to 4096, or null, got 0"),
        ({"side": 32, "resize": 16}, r"raw_images.resize: expected at least the side, 32, got 16"),
        ({"channels": 4}, r"raw_images.channels: expected 1 or 3, got 4"),
        ({"train": "train"}, r"raw_images: expected train and test, or neither, got train 'train' and test None"),
        ({"test_fraction": 1.5}, r"raw_images.test_fraction: expected a number between 0 and 1, got 1.5"),
        ({"classes": 4}, r"raw_images.classes: expected 1 to 3, the folders in .*, got 4"),
        ({"classes": ["class_01"]}, r"raw_images.classes: expected folders of .*, got 'class_01' \(did you mean 'class_001'\?\)"),
        ({"train": "class_000", "test": "class_001"}, r"raw_images: expected a folder for each class in .*class_000, got none"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, images, change, message):
    assert re.fullmatch(message, refusal(tmp_path, **change))


def test_a_class_of_the_test_set_alone_is_named(tmp_path):
    write_folder(tmp_path / "images" / "train", classes=2, each=2)
    write_folder(tmp_path / "images" / "test", classes=3, each=2)
    line = refusal(tmp_path, train="train", test="test")
    assert re.fullmatch(r"raw_images: expected in .*test only classes that .*train has, got 'class_002'", line)
