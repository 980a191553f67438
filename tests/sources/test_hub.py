"""Datasets of the Hugging Face hub's form, on disk."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image

from tests.sources.formats import pictures, write_folder
from unlearnable.errors import InputError
from unlearnable.sources.fingerprint import fingerprint
from unlearnable.sources.hub import HuggingFaceImages

datasets = pytest.importorskip("datasets")


def rows(size: int, seed: int, **columns) -> "datasets.Dataset":
    images, labels = pictures(size, classes=3, seed=seed)
    features = datasets.Features({"picture": datasets.Image(), "digit": datasets.Value("int64"), "text": datasets.Value("string")})
    content = {"picture": [Image.fromarray(image) for image in images], "digit": labels.tolist(), "text": ["x"] * size}
    return datasets.Dataset.from_dict(content | columns, features=features)


@pytest.fixture(params=["saved", "parquet"])
def path(request, tmp_path):
    sets = datasets.DatasetDict({"train": rows(12, 0), "validation": rows(6, 1)})
    if request.param == "saved":
        sets.save_to_disk(str(tmp_path / "set"))
    else:
        (tmp_path / "set").mkdir()
        for name, part in sets.items():
            part.to_parquet(str(tmp_path / "set" / f"{name}-00000-of-00001.parquet"))
    return tmp_path / "set"


def hub(place, **change) -> HuggingFaceImages:
    entry = {"name": "mine", "path": str(place), "filepath": str(place.parent / "decoded"), "test": "validation"}
    return HuggingFaceImages(**entry | {"image": "picture", "label": "digit"} | change)


def refusal(place, **change) -> str:
    with pytest.raises((DatasetError, InputError)) as error:
        hub(place, **change).load()
    return str(error.value.__cause__ or error.value)


def test_images_and_labels_are_read(path):
    raw = hub(path).load()
    for place, part in enumerate((raw.train, raw.test)):
        images, labels = pictures(len(part), classes=3, seed=place)
        assert np.array_equal(part.images, images.transpose(0, 3, 1, 2))
        assert np.array_equal(part.labels, labels)
    again = hub(path).load()
    assert np.array_equal(raw.train.images, again.train.images)
    assert len(list((path.parent / "decoded").rglob("train.safetensors"))) == 1
    assert hub(path, side=16).load().train.shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image": "pictures"},
            r"raw_images: expected one of the columns picture, digit, text, got 'pictures' \(did you mean 'picture'\?\)",
        ),
        ({"label": "label"}, r"raw_images: expected one of the columns picture, digit, text, got 'label'"),
        (
            {"image": "text"},
            r"raw_images.image: expected a column of images \(datasets.Image\), got 'text', which holds Value\('string'\) in the train set",
        ),
        (
            {"label": "text"},
            r"raw_images.label: expected whole numbers from 0 on in the train set, got 'text', which holds Value\('string'\)",
        ),
        ({"test": "test"}, r"raw_images: expected one of the splits train, validation, got 'test'"),
    ],
)
def test_an_unknown_column_or_split_is_one_line(path, change, message):
    assert re.fullmatch(message, refusal(path, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"hub": "somebody/pictures"},
            "raw_images: expected a path or the name of a dataset on the hub, got path '.*' and hub 'somebody/pictures'",
        ),
        ({"path": None}, "raw_images: expected a path or the name of a dataset on the hub, got path None and hub None"),
        (
            {"path": None, "hub": "a/b"},
            "raw_images.revision: expected the commit of 'a/b' on the hub, so that results name its bytes, got none",
        ),
        ({"path": "nowhere"}, "raw_images.path: expected a dataset in nowhere, got nothing, it is missing"),
    ],
)
def test_a_wrong_place_is_one_line(tmp_path, change, message):
    assert re.fullmatch(message, refusal(tmp_path, **change))


def test_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    line = refusal(tmp_path, path=None, hub="somebody/pictures", revision="0123")
    assert line.startswith("raw_images.hub: expected a dataset 'somebody/pictures', got ")
    assert "\n" not in line


def test_the_hub_is_asked_for_the_commit(tmp_path, monkeypatch):
    asked = []
    sets = datasets.DatasetDict({"train": rows(12, 0), "validation": rows(6, 1)})
    monkeypatch.setattr("datasets.load_dataset", lambda *given, **named: asked.append((given, named)) or sets)
    assert len(hub(tmp_path, path=None, hub="a/b", revision="0123", configuration="c").load().train) == 12
    assert asked[0] == (("a/b", "c"), {"revision": "0123"})


def test_a_folder_without_a_dataset_is_one_line(tmp_path):
    assert refusal(tmp_path).startswith(f"raw_images.path: expected a dataset in {tmp_path}, got ")


# ---- what would be silently wrong


def saved(place: Path, *, features=None, **sets) -> Path:
    """Save sets as ``save_to_disk`` does: columns of each, and ``names`` of its classes."""
    found = {}
    for seed, (name, columns) in enumerate(sets.items()):
        names = columns.pop("names", None)
        kind = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
        kinds = {"picture": datasets.Image(), "digit": kind} | (features or {})
        images = [Image.fromarray(image) for image in pictures(len(columns["digit"]), classes=3, seed=seed)[0]]
        found[name] = datasets.Dataset.from_dict({"picture": images} | columns, features=datasets.Features(kinds))
    datasets.DatasetDict(found).save_to_disk(str(place / "set"))
    return place / "set"


THREE = [0, 1, 2] * 4


def test_classes_are_the_same_by_name_in_both_sets(tmp_path):
    path = saved(
        tmp_path, train={"digit": THREE, "names": ["cat", "dog", "owl"]}, validation={"digit": THREE, "names": ["owl", "dog", "cat"]}
    )
    raw = hub(path).load()
    assert raw.train.labels.tolist() == THREE
    assert raw.test.labels.tolist() == [2, 1, 0] * 4
    assert raw.train.class_names == raw.test.class_names == ("cat", "dog", "owl")
    assert hub(path).load().test.labels.tolist() == [2, 1, 0] * 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog", "owls"], r"expected only cat, dog, owl, in the test set, as in the train set, got 'owls' \(did you mean 'owl'\?\)"),
        (None, "expected names of classes in both sets or in neither, got some in train and none in test"),
    ],
)
def test_classes_of_other_names_are_refused(tmp_path, names, message):
    path = saved(tmp_path, train={"digit": THREE, "names": ["cat", "dog", "owl"]}, validation={"digit": THREE, "names": names})
    assert re.fullmatch(f"raw_images.label: {message}", refusal(path))


def written(place: Path, kind: str, sets: "datasets.DatasetDict") -> None:
    """Write a set under one and the same name of the library's, with the same dates."""
    if kind == "saved":
        shutil.rmtree(place, ignore_errors=True)
        sets.save_to_disk(str(place))
        for state in place.rglob("state.json"):
            state.write_text(json.dumps(json.loads(state.read_text()) | {"_fingerprint": "0123456789abcdef"}))
    else:
        for name, part in sets.items():
            part.to_parquet(str(place / f"{name}.parquet"))
    for file in place.rglob("*.*"):
        os.utime(file, (0, 0))


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_a_set_that_is_saved_again_from_other_images_is_decoded_anew(tmp_path, kind):
    """Though the library calls it by the same name: what it keeps by that name is not asked."""
    for seed in (0, 5):
        written(tmp_path / "set", kind, datasets.DatasetDict({"train": rows(12, seed), "validation": rows(6, seed + 1)}))
        wanted = pictures(12, classes=3, seed=seed)[0].transpose(0, 3, 1, 2)
        assert np.array_equal(hub(tmp_path / "set").load().train.images, wanted)


def test_the_bytes_of_a_set_are_read_once_for_its_hash(path, monkeypatch):
    hashed = []
    monkeypatch.setattr("unlearnable.sources.hub.fingerprint", lambda *given, **more: hashed.append(given) or fingerprint(*given, **more))
    hub(path).load()
    assert hashed == [(path, "raw_images.path")]


def test_an_image_elsewhere_is_refused_since_no_hash_names_it(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "elsewhere.png")
    kinds = datasets.Features({"picture": datasets.Image(decode=False), "digit": datasets.Value("int64")})
    cells = [{"bytes": None, "path": str(tmp_path / "elsewhere.png")}] * 12
    place = hub(tmp_path / "set")
    rows_of = datasets.Dataset.from_dict({"picture": cells, "digit": THREE}, features=kinds)
    with pytest.raises(InputError, match=r"expected the image in .*set, got the path of one elsewhere, .*elsewhere.png"):
        place._image(rows_of, "picture", 0)


def test_a_folder_of_images_is_read_through_its_links(tmp_path):
    write_folder(tmp_path / "set" / "train", classes=3, each=4)
    write_folder(tmp_path / "set" / "validation", classes=3, each=2, seed=1)
    file = tmp_path / "set" / "train" / "class_000" / "00000.png"
    file.rename(tmp_path / "elsewhere.png")
    file.symlink_to(tmp_path / "elsewhere.png")
    raw = hub(tmp_path / "set", image="image", label="label").load()
    assert (len(raw.train), len(raw.test), raw.train.class_names) == (12, 6, ("class_000", "class_001", "class_002"))


# ---- what is wrong is one line


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 10**13] * 4, "expected 0 to 2, since there are 3 classes, got 10000000000000 in the train set"),
        ([0, 1, 3] * 4, "expected 0 to 2, since there are 3 classes, got 3 in the train set"),
        ([0, 1, -1] * 4, "expected whole numbers from 0 on in the train set, got 'digit', which holds Value('int64'), -1 among them"),
        ([0, 1, None] * 4, "expected a number in each row of the train set, got none in row 2"),
    ],
)
def test_labels_are_checked_before_anything_is_allocated(tmp_path, labels, message):
    path = saved(tmp_path, train={"digit": labels}, validation={"digit": THREE})
    assert refusal(path) == f"raw_images.label: {message}"


@pytest.mark.parametrize(("labels", "got"), [([0, 1, 3] * 4, 3), ([0, 1, 10**9] * 4, 10**9)])
def test_labels_of_the_test_set_are_those_of_the_train_set(tmp_path, labels, got):
    path = saved(tmp_path, train={"digit": THREE}, validation={"digit": labels})
    assert refusal(path) == f"raw_images.label: expected 0 to 2, since there are 3 classes, got {got} in the test set"


def test_labels_beyond_all_whole_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected 0 to 2, since there are 3 classes, got 9223372036854775808 in the train set"):
        hub(tmp_path)._labels("train", {"digit": np.array([0, 1, 2**63], dtype=np.uint64)})


def test_one_class_is_refused(tmp_path):
    path = saved(tmp_path, train={"digit": [0] * 12}, validation={"digit": [0] * 12})
    assert refusal(path) == "raw_images: expected at least two classes, got 1"


def test_labels_in_lists_name_the_column(tmp_path):
    kinds = {"digit": datasets.List(datasets.Value("int64"))}
    path = saved(tmp_path, features=kinds, train={"digit": [[n] for n in THREE]}, validation={"digit": [[n] for n in THREE]})
    assert refusal(path).startswith("raw_images.label: expected whole numbers from 0 on in the train set, got 'digit', which holds List(")


def test_a_row_without_an_image_is_named(tmp_path):
    images = [Image.fromarray(image) for image in pictures(12, classes=3)[0]]
    path = saved(tmp_path, train={"digit": THREE, "picture": [*images[:4], None, *images[5:]]}, validation={"digit": THREE})
    assert refusal(path) == "raw_images: train image 4: expected an image, got none"


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_a_split_without_rows_is_named(tmp_path, kind):
    sets = datasets.DatasetDict({"train": rows(12, 0), "validation": rows(0, 1)})
    if kind == "saved":
        sets.save_to_disk(str(tmp_path / "set"))
    else:
        for name, part in sets.items():
            part.to_parquet(str(tmp_path / "set" / f"{name}.parquet"))
    assert refusal(tmp_path / "set") == "raw_images: expected rows in the split 'validation', got none"


def test_files_with_other_columns_are_told_by_them(tmp_path):
    rows(12, 0).remove_columns("text").to_parquet(str(tmp_path / "set" / "train.parquet"))
    rows(6, 1).to_parquet(str(tmp_path / "set" / "validation.parquet"))
    line = refusal(tmp_path / "set")
    assert line.endswith("got a file with the columns picture, digit, text where another has picture, digit")
