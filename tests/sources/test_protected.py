"""The protected copies of a user's images, each beside its original."""

import re
import shutil
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from tests.sources.formats import pictures, write_folder
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.sources.folder import FolderImages, ProtectedFolder, id_of

CLASSES = ("bébé", "cat", "owl")


def entry(kind: type, path: Path, **settings):
    return kind(name="mine", path=str(path), filepath=str(path.parent / "decoded"), **settings)


def changed(file: Path, seed: int = 0, levels: int = 8) -> None:
    """Change a file as a protection does."""
    image = np.asarray(Image.open(file)).astype(int)
    noise = np.random.default_rng(seed).choice([-levels, levels], size=image.shape)
    Image.fromarray((image + noise).clip(0, 255).astype(np.uint8)).save(file)


def written(root: Path, *parts: str, each: int = 10) -> None:
    """Write originals and their protected copies, in the sub-folders ``parts`` where there are some."""
    for place, part in enumerate(parts or ("",)):
        write_folder(root / "folder" / part, classes=len(CLASSES), each=each, seed=place)
        for number, name in enumerate(CLASSES):
            made = (root / "folder" / part / f"class_{number:03}").rename(root / "folder" / part / name)
            for file, other in zip(sorted(made.iterdir()), range(each), strict=True):
                file.rename(made / f"{other:03}.png")
    shutil.copytree(root / "folder", root / "protected")
    for seed, file in enumerate(sorted((root / "protected").rglob("*.png"))):
        changed(file, seed)


@pytest.fixture
def root(tmp_path) -> Path:
    written(tmp_path)
    return tmp_path


def copies(root: Path, **settings):
    """Return the clean training images and their copies."""
    clean = entry(FolderImages, root / "folder", **settings).load().train
    return clean, entry(ProtectedFolder, root / "protected", **settings).load().poisoned(clean)


def refusal(root: Path, **settings) -> str:
    with pytest.raises(InputError) as error:
        copies(root, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def stand_for(clean, found) -> bool:
    """Return whether each copy is near to the original of its id."""
    difference = np.abs(found.images.astype(int) - clean.matching(found).images)
    return bool(difference.max() <= 8 and difference.min() >= 0 and difference.any())


def test_each_original_gets_its_copy(root, caplog):
    caplog.set_level("INFO", logger="unlearnable")
    clean, found = copies(root)
    assert np.array_equal(found.ids, clean.ids)
    assert np.array_equal(found.labels, clean.labels)
    assert stand_for(clean, found)
    assert "24 of 24 training images have a protected copy" in caplog.text


def test_copies_are_in_the_order_of_their_originals(root):
    clean = entry(FolderImages, root / "folder").load().train
    mixed = clean.subset(np.random.default_rng(0).permutation(len(clean)))
    found = entry(ProtectedFolder, root / "protected").load().poisoned(mixed)
    assert np.array_equal(found.ids, mixed.ids)
    assert np.array_equal(found.labels, mixed.labels)
    assert stand_for(clean, found)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_classes_and_files_in_another_unicode_form_are_the_same(root, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    for place, wanted in (("folder", form), ("protected", other)):
        for path in sorted((root / place).rglob("*"), reverse=True):
            path.rename(path.with_name(normalize(wanted, path.name.replace("0", "é"))))
    clean, found = copies(root)
    assert np.array_equal(found.ids, clean.ids)
    assert stand_for(clean, found)


def test_a_part_of_the_images_is_enough_and_is_counted(root, caplog):
    caplog.set_level("INFO", logger="unlearnable")
    clean = entry(FolderImages, root / "folder").load().train
    kept = {label: clean.ids[clean.labels == label][0] for label in range(3)}
    for file in (root / "protected").rglob("*.png"):
        if id_of(file.parent.name, file) not in kept.values():
            file.unlink()
    clean, found = copies(root)
    assert found.ids.tolist() == list(kept.values())
    assert found.labels.tolist() == [0, 1, 2]
    assert "3 of 24 training images have a protected copy" in caplog.text


TRAIN_AND_TEST = {"train": "train", "test": "test"}


def test_copies_are_matched_within_the_training_set(tmp_path, caplog):
    """Though the test set has files of the same names, one of which has lost its twin."""
    caplog.set_level("INFO", logger="unlearnable")
    written(tmp_path, "train", "test")
    (tmp_path / "protected" / "train" / "cat" / "003.png").unlink()
    clean, found = copies(tmp_path, **TRAIN_AND_TEST)
    assert len(found) == 29
    assert stand_for(clean, found)
    assert "29 of 30 training images" in caplog.text


def test_the_training_set_alone_may_be_protected(tmp_path):
    written(tmp_path, "train", "test")
    shutil.rmtree(tmp_path / "protected" / "test")
    clean, found = copies(tmp_path, **TRAIN_AND_TEST)
    assert np.array_equal(found.ids, clean.ids)


def test_the_same_folder_twice_is_allowed(root):
    shutil.rmtree(root / "protected")
    shutil.copytree(root / "folder", root / "protected")
    clean, found = copies(root)
    assert np.array_equal(found.images, clean.images)


# ---- classes


@pytest.mark.parametrize(
    ("name", "beside"), [(None, ""), ("cat_protected", "; other folders there: cat_protected"), ("Cat", "; other folders there: Cat")]
)
def test_a_class_without_copies_is_named(root, name, beside):
    if name is None:
        shutil.rmtree(root / "protected" / "cat")
    else:
        (root / "protected" / "cat").rename(root / "protected" / name)
    expected = "expected copies of training images of class 'cat' by their names in"
    assert refusal(root) == f"released_poison: {expected} {root / 'protected'}, got none{beside}"


def test_a_class_of_files_of_other_names_is_named(root):
    for file in list((root / "protected" / "owl").iterdir()):
        file.rename(file.with_stem(f"protected_{file.stem}"))
    assert refusal(root).endswith(
        "class 'owl' by their names in " + f"{root / 'protected'}, got 10 of other names, such as protected_000.png"
    )


def test_a_class_that_the_originals_lack_is_named(root):
    shutil.copytree(root / "protected" / "cat", root / "protected" / "zebra")
    assert refusal(root).endswith(f"expected only the classes of the originals, bébé, cat, owl, in {root / 'protected'}, got 'zebra'")


# ---- copies of other images


def swap(one: Path, other: Path) -> None:
    there = one.rename(one.with_name("swapped"))
    other.rename(one)
    there.rename(other)


def test_swapped_classes_are_told_by_how_far_they_are(root):
    swap(root / "protected" / "cat", root / "protected" / "owl")
    where = rf"released_poison: {root}/protected/(cat|owl)/\d+\.png"
    expected = (
        r"expected a copy of its original, with a mean absolute difference of at most 0\.15, got 0\.\d+: is it a copy of another image\?"
    )
    assert re.fullmatch(f"{where}: {expected}", refusal(root))


def alike(root: Path, each: int = 10) -> None:
    """Write classes whose images are nearer to each other than any limit of the difference notices, and their copies."""
    for number, name in enumerate(CLASSES):
        images = np.full((each, 32, 32, 3), 100 + number) + np.random.default_rng(number).integers(-30, 30, size=(each, 32, 32, 3))
        for place, image in enumerate(images):
            for folder in ("folder", "protected"):
                file = root / folder / name / f"{place:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.astype(np.uint8)).save(file)
    for seed, file in enumerate(sorted((root / "protected").rglob("*.png"))):
        changed(file, seed)


def test_copies_of_images_that_look_alike_are_accepted(tmp_path):
    alike(tmp_path)
    clean, found = copies(tmp_path)
    assert np.array_equal(found.ids, clean.ids)


def test_shifted_files_are_refused_though_all_look_alike(tmp_path):
    alike(tmp_path)
    files = sorted((tmp_path / "protected" / "cat").iterdir())
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[1:] + contents[:1], strict=True):
        file.write_bytes(content)
    line = refusal(tmp_path)
    where = rf"{tmp_path}/protected/cat/\d+\.png"
    assert re.fullmatch(
        rf"released_poison: {where}: expected a copy of its original, got one of that of {where}, and \d+ more like this", line
    )


def test_two_swapped_classes_are_refused_though_all_look_alike(tmp_path):
    alike(tmp_path)
    swap(tmp_path / "protected" / "cat", tmp_path / "protected" / "owl")
    assert re.search(r"protected/cat/\d+\.png: expected a copy of its original, got one of that of \S+/owl/\d+\.png", refusal(tmp_path))


def test_two_swapped_files_are_refused_by_their_names(tmp_path):
    alike(tmp_path)
    clean = entry(FolderImages, tmp_path / "folder").load()
    cats = sorted((tmp_path / "protected" / "cat").iterdir())
    one, other = [file for file in cats if id_of("cat", file) in clean.train.ids][:2]
    swap(one, other)
    assert refusal(tmp_path).endswith(f"{one}: expected a copy of its original, got one of that of {other}, and 1 more like this")


def test_images_that_are_not_there_at_all_are_refused_by_their_class(tmp_path):
    """No original is nearer to them than their own, and none as far as an image of another class."""
    alike(tmp_path, each=20)
    rng = np.random.default_rng(9)
    for file in (tmp_path / "protected" / "cat").iterdir():
        Image.fromarray((101 + rng.integers(-30, 30, size=(32, 32, 3))).astype(np.uint8)).save(file)
    line = refusal(tmp_path)
    assert "class 'cat': expected copies of its originals, got images that are as near to others; the first is " in line


@pytest.mark.parametrize("levels", [12, 24, 36])
def test_strong_noise_on_images_that_look_alike_is_no_other_image(tmp_path, levels):
    alike(tmp_path, each=20)
    for seed, file in enumerate(sorted((tmp_path / "protected").rglob("*.png"))):
        changed(file, 100 + seed, levels=levels)
    clean, found = copies(tmp_path)
    assert np.array_equal(found.ids, clean.ids)


def test_images_that_are_all_the_same_are_no_other_images(tmp_path):
    for number, name in enumerate(CLASSES):
        for place in range(20):
            for folder, more in (("folder", 0), ("protected", 20)):
                file = tmp_path / folder / name / f"{place:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), 60 + 40 * number + more + (place % 7), np.uint8)).save(file)
    each = [(number, place) for number in range(len(CLASSES)) for place in range(20)]
    clean = LabelledImages(  # as read from a folder, which would say that test images are among the others
        images=np.stack([np.full((3, 8, 8), 60 + 40 * number + (place % 7), np.uint8) for number, place in each]),
        labels=np.array([number for number, _ in each]),
        num_classes=len(CLASSES),
        ids=np.array([id_of(CLASSES[number], Path(f"{place:03}.png")) for number, place in each]),
        class_names=CLASSES,
    )
    found = entry(ProtectedFolder, tmp_path / "protected").load().poisoned(clean)
    assert np.array_equal(found.ids, clean.ids)


def test_a_strong_protection_is_no_other_image(root):
    """A colour for each class, far beyond what a released poison changes."""
    for number, name in enumerate(CLASSES):
        for file in (root / "protected" / name).iterdir():
            image = np.asarray(Image.open(file)).astype(int) + np.roll([30, -30, 30], number)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file)
    clean, found = copies(root)
    assert np.array_equal(found.ids, clean.ids)


def test_images_of_many_sizes_are_compared(tmp_path):
    for side in (5, 15, 17, 33):
        images = np.random.default_rng(0).integers(256, size=(12, side, side, 3), dtype=np.uint8)
        for place, image in enumerate(images):
            for folder in ("folder", "protected"):
                file = tmp_path / str(side) / folder / CLASSES[place % 3] / f"{place // 3}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)
        for seed, file in enumerate(sorted((tmp_path / str(side) / "protected").rglob("*.png"))):
            changed(file, seed, levels=16)
        clean, found = copies(tmp_path / str(side))
        assert np.array_equal(found.ids, clean.ids)


def test_another_size_is_refused(root):
    for file in (root / "protected").rglob("*.png"):
        Image.fromarray(pictures(1, classes=1, side=16)[0][0]).save(file)
    assert refusal(root).endswith(
        "expected 32x32 pixels of 3 channels, as the originals, got 16x16 pixels of 3 channels: are side, resize and channels the same?"
    )


def test_a_missing_folder_is_named(root):
    shutil.rmtree(root / "protected")
    with pytest.raises(InputError, match=r"^released_poison.path: expected the folder of the protected images, got .*, which is missing$"):
        entry(ProtectedFolder, root / "protected").load().check()
    assert refusal(root) == f"released_poison: expected the folder {root / 'protected'}, which is missing"
