"""A part of a set that is protected, and several poisons in one set."""

from dataclasses import replace

import numpy as np
import pytest

from tests.config.test_recipe import loader
from tests.conftest import make_images
from unlearnable.config.validation import check
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.parts import protected_parts
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.pipelines.craft_poison.nodes import craft
from unlearnable.pipelines.requirements import require

LEVEL = 1 / 255
SETTINGS = {"seed": 3, "regions_4": {"linf": 8 * LEVEL}, "patches_4": {"linf": 4 * LEVEL}, "none": {}}


@pytest.fixture
def images() -> LabelledImages:
    """60 images of three classes, in an order that tells nothing, with numbers of a larger set."""
    clean = make_images(60, classes=3)
    order = np.random.default_rng(0).permutation(60)
    return replace(clean.subset(order), ids=order * 7 + 2, published=500, class_names=("ant", "bee", "cat"))


def poisoned(images: LabelledImages, poison: str = "regions_4", **more) -> np.ndarray:
    """Return the largest change of each image in levels, of a set that is else as before."""
    found = craft(images, poison, SETTINGS | more, "cpu")
    assert np.array_equal(found.labels, images.labels)
    assert np.array_equal(found.ids, images.ids)
    assert (found.num_classes, found.published, found.class_names) == (3, 500, ("ant", "bee", "cat"))
    return np.abs(found.images.astype(int) - images.images).reshape(60, -1).max(1)


def test_nothing_said_is_everything(images):
    assert (poisoned(images) > 0).all()
    assert np.array_equal(poisoned(images, share=1.0, classes=["ant", "bee", "cat"]), poisoned(images))


@pytest.mark.parametrize(("share", "each"), [(0.8, [16, 16, 16]), (0.05, [1, 1, 1]), (30, [10, 10, 10]), (60, [20, 20, 20])])
def test_a_share_is_one_of_each_class(share, each, images):
    change = poisoned(images, share=share) > 0
    assert np.bincount(images.labels[change], minlength=3).tolist() == each


def test_a_number_that_classes_do_not_divide_is_within_one(images):
    change = poisoned(images, share=31) > 0
    assert sorted(np.bincount(images.labels[change])) == [10, 10, 11]


def test_a_share_is_drawn_by_the_seed_of_the_poison(images):
    first, same, other = (protected_parts(images, "ops", {"seed": seed, "share": 0.5})["ops"] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert len(set(first)) == 30


@pytest.mark.parametrize("classes", [["bee"], [1], ["1"]])
def test_only_the_classes_that_are_named_are_protected(classes, images):
    if classes == ["1"]:  # numbers are names where there are no others
        images = replace(images, class_names=())
        assert (
            protected_parts(images, "ops", {"seed": 0, "classes": classes})["ops"].tolist() == np.flatnonzero(images.labels == 1).tolist()
        )
        return
    change = poisoned(images, classes=classes) > 0
    assert np.array_equal(change, images.labels == 1)
    assert np.bincount(images.labels[poisoned(images, classes=classes, share=6) > 0], minlength=3).tolist() == [0, 6, 0]


def test_a_mixture_gives_each_poison_its_share_of_each_class(images):
    change = poisoned(images, "mixture", mixture={"regions_4": 0.5, "patches_4": 0.3, "none": 0.2, "ops": 0.0})
    for label in range(3):
        of_class = change[images.labels == label]
        assert (of_class == 0).sum() == 4
        assert (of_class == 4).sum() == 6  # patches of -4 or 4 levels
        assert ((of_class > 4) & (of_class <= 8)).sum() == 10


def test_a_poison_sees_the_images_that_it_protects_alone(images):
    """What ``lsp`` draws depends on the number of images of a class."""
    given = SETTINGS | {"lsp": {"l2": 2.0}}
    places = protected_parts(images, "lsp", given | {"share": 0.5})["lsp"]
    alone = craft(images.subset(places), "lsp", given, "cpu").images
    assert np.array_equal(craft(images, "lsp", given | {"share": 0.5}, "cpu").images[places], alone)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"craft": {"share": 1.5}}, r"parameter 'craft\.share': expected a fraction up to 1, or a whole number of images, got 1\.5"),
        ({"craft": {"share": 0}}, r"parameter 'craft\.share': expected greater than 0, got 0"),
        ({"craft": {"classes": []}}, r"parameter 'craft\.classes': expected at least 1 item, got \[\]"),
        ({"craft": {"classes": [[1]]}}, r"parameter 'craft\.classes\.0': expected a name or a number, got \[1\]"),
        ({"poison": "released", "craft": {"share": 0.5}}, r"parameter 'craft\.share': expected none, since a released poison .*; got 0\.5"),
        ({"poison": "mixture"}, r"craft\.mixture: expected shares of poisons that add up to 1, got none, which is 0"),
        (
            {"poison": "mixture", "craft": {"mixture": {"lsp": 0.5, "ops": 0.4}}},
            r"craft\.mixture: expected shares of poisons that add up to 1, got lsp 0\.5, ops 0\.4, which is 0\.9",
        ),
        (
            {"poison": "mixture", "craft": {"mixture": {"lsp": 0.5, "opps": 0.5}}},
            r"unknown parameter 'craft\.mixture\.opps'; known: .* \(did you mean 'ops'\?\)",
        ),
        ({"poison": "mixture", "craft": {"mixture": {"lsp": 1.5}}}, r"parameter 'craft\.mixture\.lsp': expected less than or equal to 1"),
        (
            {"poison": "mixture", "craft": {"mixture": {"hypo": 1.0}, "hypo": {"surrogate": {"model": "tiny_cn"}}}},
            r"unknown craft\.hypo\.surrogate\.model 'tiny_cn'",
        ),
    ],
)
def test_shares_that_make_no_sense_are_one_line_before_anything_runs(given, message):
    with pytest.raises(InputError, match=f"^{message}"):
        check(loader(**given)["parameters"])


@pytest.mark.parametrize(
    ("craft", "message"),
    [
        ({"classes": ["caat"]}, r"craft\.classes: expected some of the classes ant, bee, cat, got 'caat' \(did you mean 'cat'\?\)"),
        ({"classes": [3]}, r"craft\.classes: expected some of the classes ant, bee, cat, got '3'"),
        ({"share": 61}, r"craft\.share: subset: expected at most 60 images, got size 61"),
        ({"share": 2}, r"craft\.share: subset: expected at least 3 images, one of each class, got size 2"),
    ],
)
def test_what_the_images_do_not_have_is_one_line_before_the_crafting(craft, message, images):
    parameters = loader(poison="ops", craft=craft)["parameters"]
    check(parameters)
    with pytest.raises(InputError, match=f"^{message}$"):
        require(register_pipelines()["craft_poison"].nodes, images, parameters)


def test_a_part_is_another_recipe_and_all_of_it_is_the_one_from_before():
    def of(**craft):
        return loader(poison="ops", craft=craft).recipe("poisoned_train")

    assert "craft.share" not in of()
    assert of(share=0.8)["craft.share"] == 0.8
    assert of(classes=["bee"])["craft.classes"] == ["bee"]
    mixed = loader(poison="mixture", craft={"mixture": {"lsp": 0.5, "ops": 0.5}})
    assert {"craft.mixture", "craft.lsp", "craft.ops", "craft.seed"} <= set(mixed.recipe("poisoned_train"))
    assert "/mixture/" in mixed.place("poisoned_train")
