"""Datasets of the Hugging Face hub's form, on disk."""

import re

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image

from tests.datasets.formats import pictures
from unlearnable.datasets.hub import HuggingFaceImages
from unlearnable.errors import InputError

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
        ({"image": "text"}, r"raw_images.image: expected a column of images, got 'text'"),
        ({"label": "text"}, r"raw_images.label: expected whole numbers from 0 on in the train set, got 'text'"),
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
