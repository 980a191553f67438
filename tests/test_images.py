from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, Projection, balanced_subset, channel_statistics, leaked, require_every_class

GOOD = {"images": np.zeros((2, 3, 4, 4), np.uint8), "labels": np.array([0, 1]), "num_classes": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 3, 4, 4), np.float32)}, "images: expected uint8"),
        ({"images": np.zeros((2, 3, 4), np.uint8)}, "images: expected uint8"),
        ({"labels": np.array([0, 1, 0])}, r"labels: expected int64 \(2,\)"),
        ({"labels": np.array([0.0, 1.0])}, "labels: expected int64"),
        ({"labels": np.array([0, 2])}, "labels: expected 0 to 1, got 0 to 2"),
        ({"labels": np.array([-1, 1])}, "labels: expected 0 to 1, got -1 to 1"),
        ({"images": np.zeros((0, 3, 4, 4), np.uint8), "labels": np.zeros(0, np.int64)}, "at least one image"),
        ({"projection": Projection(basis=np.zeros((5, 1), np.float32), centre=np.zeros(5, np.float32))}, "projection of 5 pixels"),
    ],
)
def test_a_wrong_set_is_refused_in_one_line(change, message):
    LabelledImages(**GOOD)
    with pytest.raises(InputError, match=message) as error:
        LabelledImages(**GOOD | change)
    assert "\n" not in str(error.value)


def test_a_projection_needs_a_centre_of_its_size():
    with pytest.raises(InputError, match="projection: expected basis"):
        Projection(basis=np.zeros((5, 1), np.float32), centre=np.zeros(4, np.float32))


def test_a_subset_is_balanced_seeded_and_in_order(clean):
    subset = balanced_subset(clean, 20, np.random.default_rng(1))
    counts = np.bincount(subset.labels)
    assert counts.sum() == 20
    assert counts.max() - counts.min() <= 1
    again = balanced_subset(clean, 20, np.random.default_rng(1))
    assert np.array_equal(subset.images, again.images)
    assert not np.array_equal(subset.images, balanced_subset(clean, 20, np.random.default_rng(2)).images)
    places = [np.flatnonzero((clean.images == image).all((1, 2, 3)))[0] for image in subset.images]
    assert places == sorted(places)


def test_no_size_takes_everything(clean):
    assert balanced_subset(clean, None, np.random.default_rng(0)) is clean


def test_too_large_a_subset_names_what_is_missing(clean):
    with pytest.raises(InputError, match="subset: expected at most 60 images, got size 61"):
        balanced_subset(clean, 61, np.random.default_rng(0))
    few_of_2 = clean.subset(np.flatnonzero((clean.labels != 2) | (np.arange(60) < 15)))
    with pytest.raises(InputError, match=r"subset: expected at least 1\d images of class 2, got 5"):
        balanced_subset(few_of_2, 40, np.random.default_rng(0))


def test_channel_statistics_are_those_of_the_pixels():
    images = make_images(40, classes=3)
    mean, deviation = channel_statistics(images)
    pixels = images.images / 255
    assert np.allclose(mean, pixels.mean((0, 2, 3)))
    assert np.allclose(deviation, pixels.std((0, 2, 3)))


def test_a_constant_channel_does_not_divide_by_zero():
    _, deviation = channel_statistics(LabelledImages(**GOOD))
    assert np.array_equal(deviation, np.ones(3))


def test_images_are_numbered_where_nobody_says_their_ids():
    images = make_images(6, classes=2, side=4)
    assert images.ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert images.subset(np.array([4, 1])).ids.tolist() == [4, 1]


def test_a_set_is_matched_to_another_by_its_ids():
    images = make_images(6, classes=2, side=4)
    shuffled = images.subset(np.array([3, 0, 5, 1, 4, 2]))
    part = images.subset(np.array([5, 1, 0]))
    found = shuffled.matching(part)
    assert found.ids.tolist() == [5, 1, 0]
    assert np.array_equal(found.images, part.images)
    assert images.matching(images) is images


def test_an_id_that_is_missing_is_named():
    images = make_images(6, classes=2, side=4)
    with pytest.raises(InputError, match="images: expected the id 4, and 1 more, among 3; got none"):
        images.subset(np.array([0, 1, 2])).matching(images.subset(np.array([1, 4, 5])))


@pytest.mark.parametrize("ids", [np.array([0, 0, 1]), np.array([0, 1]), np.array([0.0, 1.0, 2.0])])
def test_ids_are_distinct_integers_one_an_image(ids):
    with pytest.raises(InputError, match=r"ids: expected distinct int64 \(3,\)"):
        replace(make_images(3, classes=3, side=4), ids=ids)


def test_a_subset_has_an_image_of_each_class():
    assert len(balanced_subset(make_images(9, classes=3), 3, np.random.default_rng(0))) == 3
    with pytest.raises(InputError, match="subset: expected at least 3 images, one of each class, got size 2"):
        balanced_subset(make_images(9, classes=3), 2, np.random.default_rng(0))


def test_a_class_without_an_image_is_named():
    images = make_images(9, classes=3)
    require_every_class(images)
    with pytest.raises(InputError, match="expected images of each of the 3 classes, got none of class 1"):
        require_every_class(images.subset(np.flatnonzero(images.labels != 1)))


def test_leaked_images_are_found_by_their_bytes():
    train, test = make_images(60, classes=3), make_images(20, classes=3, seed=1)
    assert leaked(train, test) == {}
    images = test.images.copy()
    images[[4, 11]] = train.images[[59, 0]]
    images[7] = train.images[7]
    images[7, 0, 0, 0] ^= 1  # one bit of difference is no leak
    assert leaked(train, replace(test, images=images)) == {4: 59, 11: 0}


def test_leaks_are_found_among_as_many_images_as_cifar10_has():
    """Comparing each image with each would take hours."""
    rng = np.random.default_rng(0)
    images = [rng.integers(256, size=(size, 3, 32, 32), dtype=np.uint8) for size in (50_000, 10_000)]
    images[1][123] = images[0][45_678]
    train, test = (LabelledImages(images=part, labels=np.zeros(len(part), np.int64), num_classes=1) for part in images)
    assert leaked(train, test) == {123: 45_678}
