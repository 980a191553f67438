"""A user's own images in folders."""

import io
import os
import re
import shutil
import struct
import zlib
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from tests.sources.formats import pictures, spoil_folder, write_folder, write_imagenet
from unlearnable.errors import InputError
from unlearnable.sources.decoded import Frame, _turned, opened
from unlearnable.sources.fingerprint import fingerprint, walk
from unlearnable.sources.folder import FolderImages
from unlearnable.sources.names import shown, text


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
    monkeypatch.setattr("unlearnable.sources.decoded.pixels_of", lambda *_: pytest.fail("decoded again"))
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
    monkeypatch.setattr("unlearnable.artifacts.atomic.LARGE", 1000)
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


# ---- what a folder may hold beside images


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures(1, classes=1, seed=seed)[0][0]).save(path)


def hashed(path: Path) -> str | None:
    return fingerprint(path, "raw_images.path", follow=True)


def test_hidden_files_are_passed_over_by_reader_and_hash_alike(tmp_path, images, caplog):
    before, first = hashed(images), folder(tmp_path).load()
    (images / "class_000" / "._00000.png").write_bytes(b"of macOS")
    (images / ".DS_Store").write_bytes(b"of macOS")
    write_image(images / "class_000" / ".thumb.png")
    write_image(images / "class_000" / ".thumbs" / "00000.png")
    write_image(images / ".class" / "00000.png")
    again = folder(tmp_path).load()
    assert np.array_equal(first.train.ids, again.train.ids)
    assert hashed(images) == before
    assert caplog.text == ""


def test_what_is_passed_over_is_counted_and_named_in_one_line(tmp_path, images, caplog):
    for name in ("1.tif", "2.tif", "deeper/3.png", "deeper/deepest/4.png", "5"):
        path = images / "class_001" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (images / "labels.csv").write_bytes(b"")
    assert len(folder(tmp_path).load().train) == 24
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        f"{images}: ignored 6 files: 1 in no class (labels.csv), 2 of the type .tif (class_001/1.tif), "
        "1 without an ending (class_001/5), 2 in deeper folders (class_001/deeper/3.png)"
    )


def test_classes_that_are_not_taken_are_not_counted(tmp_path, images, caplog):
    (images / "class_002" / "1.tif").write_bytes(b"")
    folder(tmp_path, classes=2).load()
    assert caplog.text == ""


def test_a_class_of_other_files_says_so(tmp_path, images):
    (images / "class_003").mkdir()
    (images / "class_003" / "1.tif").write_bytes(b"")
    assert refusal(tmp_path).endswith("class_003, got 0 beside 1 of other kinds, such as 1.tif")


@pytest.mark.parametrize("links", [["class_000/up"], ["class_000/up", "class_001/up", "class_002/up"]])
def test_a_link_to_a_folder_above_is_no_loop(tmp_path, images, links, caplog):
    before = folder(tmp_path).load()
    for link in links:
        (images / link).symlink_to("..")
    (images / "self").symlink_to(".")
    (images / "again").symlink_to("class_000")
    assert len(list(walk(images, follow=True))) == 30 + len(links) + 2
    assert np.array_equal(folder(tmp_path).load().train.images, before.train.images)
    assert f"{2 + len(links)} links to a folder that is there already" in caplog.text
    first = hashed(images)
    (images / "again").unlink()
    (images / "again").symlink_to("class_001")
    assert hashed(images) != first


def test_a_class_may_be_a_link_to_a_folder_elsewhere(tmp_path, images):
    before = folder(tmp_path).load()
    shutil.move(images / "class_001", tmp_path / "elsewhere")
    (images / "class_001").symlink_to(tmp_path / "elsewhere")
    assert np.array_equal(folder(tmp_path).load().train.images, before.train.images)
    first = hashed(images)
    write_image(tmp_path / "elsewhere" / "00011.png", seed=5)
    assert hashed(images) != first


# ---- names


def test_names_are_bytes_that_no_locale_changes(monkeypatch):
    decomposed, composed, latin = "be\u0301be\u0301", "b\u00e9b\u00e9", os.fsdecode(b"caf\xe9")
    assert text(decomposed) == text(composed) == composed
    assert text(latin) == "caf\\xe9"
    monkeypatch.setattr(os, "fsencode", lambda name: str(name).encode("latin-1"))  # as in a locale of ISO-8859-1
    assert text(composed.encode().decode("latin-1")) == composed
    assert text(b"caf\xe9".decode("latin-1")) == "caf\\xe9"
    assert shown("\u72d7") == "\u72d7"


def test_names_that_are_not_utf8_are_read_and_told(tmp_path, images):
    (images / "class_000").rename(images / os.fsdecode(b"caf\xe9"))
    file = images / "class_001" / "00001.png"
    odd = file.rename(file.with_name(os.fsdecode(b"\xff.png")))
    raw = folder(tmp_path).load()
    assert raw.train.class_names == ("caf\\xe9", "class_001", "class_002")
    assert len(raw.train) + len(raw.test) == 30
    odd.write_bytes(b"hello")
    line = refusal(tmp_path)
    assert "class_001/\\xff.png: expected an image that can be decoded" in line
    line.encode()


def test_the_split_is_the_same_in_both_unicode_forms(tmp_path):
    for form in ("NFC", "NFD"):
        write_folder(tmp_path / form / "images", classes=2, each=20)
        for path in (tmp_path / form / "images").iterdir():
            path.rename(path.with_name(normalize(form, f"{path.name}\u00e9")))
    composed, decomposed = (folder(tmp_path / form).load() for form in ("NFC", "NFD"))
    assert np.array_equal(composed.test.ids, decomposed.test.ids)
    assert composed.train.class_names == decomposed.train.class_names
    chosen = folder(tmp_path / "NFD", classes=[normalize("NFD", name) for name in composed.train.class_names]).load()
    assert np.array_equal(chosen.test.ids, composed.test.ids)


def test_two_forms_of_one_name_are_refused(tmp_path, images):
    for form in ("NFC", "NFD"):
        shutil.copytree(images / "class_000", images / normalize(form, "b\u00e9b\u00e9"))
    assert refusal(tmp_path).endswith("got several 'b\u00e9b\u00e9'")


def test_two_images_of_one_name_are_refused_whatever_stands_between_them(tmp_path, images):
    for name in ("a.jpg", "a.k.png", "a.png"):
        write_image(images / "class_001" / name)
    assert refusal(tmp_path) == f"raw_images: expected one image of each name in {images}/class_001, got several 'a'"


def test_classes_may_be_numbers(tmp_path, images):
    for number, path in enumerate(sorted(images.iterdir())):
        path.rename(images / str(number))
    assert folder(tmp_path, classes=[2, 0]).load().train.class_names == ("2", "0")


# ---- what must be there


@pytest.mark.parametrize("change", [{"classes": 1}, {"classes": ["class_001"]}])
def test_one_class_is_refused_before_anything_is_decoded(tmp_path, images, change, monkeypatch):
    monkeypatch.setattr("unlearnable.sources.folder.decoded", lambda *_, **__: pytest.fail("decoded"))
    assert re.fullmatch(r"raw_images: expected at least two classes, got 'class_00.' in .*images", refusal(tmp_path, **change))


def test_a_test_image_that_is_a_training_image_is_named(tmp_path, images):
    for file in sorted((images / "class_000").iterdir()):
        shutil.copy(file, file.with_name(f"{file.stem} (1).png"))
    line = refusal(tmp_path)
    assert re.search(r"the first is \S+/class_000/(\d+)( \(1\))?.png, as \S+/class_000/\1( \(1\))?.png$", line)


# ---- images of which something beside the pixels is wrong


def test_texts_that_would_unpack_to_much_are_left_out(tmp_path):
    write_image(tmp_path / "plain.png")
    plain = (tmp_path / "plain.png").read_bytes()
    for kind, text_of in (("zTXt", b"a\0\0"), ("iTXt", b"a\0\1\0\0\0"), ("iCCP", b"a\0\0")):
        body = text_of + zlib.compress(bytes(3 << 20))
        chunk = struct.pack(">I", len(body)) + kind.encode() + body + struct.pack(">I", zlib.crc32(kind.encode() + body))
        (tmp_path / "texts.png").write_bytes(plain[:33] + chunk + plain[33:])
        assert np.array_equal(FRAME.pixels(opened(tmp_path / "texts.png")), FRAME.pixels(opened(tmp_path / "plain.png")))
        (tmp_path / "texts.png").write_bytes(plain[:-12] + chunk + plain[-12:])  # after the pixels, which are read first
        assert np.array_equal(FRAME.pixels(opened(tmp_path / "texts.png")), FRAME.pixels(opened(tmp_path / "plain.png")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_pillow_turns_it_whatever_else_its_exif_says(orientation):
    image = Image.fromarray(pictures(1, classes=1)[0][0])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    image._exif = None
    assert np.array_equal(_turned(image), ImageOps.exif_transpose(image))
    exif[0x010F] = IFDRational(1, 3)  # the maker, which is no number: Pillow cannot write it
    broken = image.copy()
    broken._exif = exif
    assert np.array_equal(_turned(broken), ImageOps.exif_transpose(image))


def test_exif_that_cannot_be_read_turns_nothing(monkeypatch):
    image = Image.fromarray(pictures(1, classes=1)[0][0])
    monkeypatch.setattr(image, "getexif", lambda: struct.unpack(">I", b""))
    assert np.array_equal(_turned(image), image)
