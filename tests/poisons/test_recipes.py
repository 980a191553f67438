import numpy as np
import pytest

from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.poisons import POISONS, Crafting, craft


@pytest.fixture(scope="module")
def images():
    return make_images(200, classes=10, side=32)


def test_lsp_has_the_published_norm_before_rounding(images):
    published = 6 / 255 * np.sqrt(3072)
    assert published == pytest.approx(1.304, abs=5e-4)
    perturbation = POISONS["lsp"](images, Crafting(seed=0), l2=published)
    norms = np.sqrt(np.square(perturbation, dtype=float).sum((1, 2, 3)))
    assert np.allclose(norms, published, rtol=1e-5)


def test_lsp_is_a_grid_of_flat_patches_that_a_linear_rule_tells_apart(images):
    perturbation = POISONS["lsp"](images, Crafting(seed=0), l2=1.0)
    patches = perturbation.reshape(200, 3, 4, 8, 4, 8)
    assert np.ptp(patches, axis=(3, 5)).max() == 0
    flat = perturbation.reshape(200, -1)
    means = np.stack([flat[images.labels == c].mean(0) for c in range(10)])
    assert ((flat @ means.T).argmax(1) == images.labels).all()


def test_lsp_refuses_images_that_it_cannot_cut(images):
    with pytest.raises(InputError, match=r"craft\.lsp\.patches: expected a divisor of 32 and 32, got 5"):
        POISONS["lsp"](images, Crafting(seed=0), l2=1.0, patches=5)


def test_ops_changes_one_pixel_a_class_and_no_class_shares_one(images):
    poisoned = craft("ops", images, Crafting(seed=0), settings={})
    changed = (poisoned.images != images.images).any(1)
    places = {}
    for label in range(10):
        of_class = changed[images.labels == label].any(0)
        assert of_class.sum() == 1
        places[label] = tuple(np.argwhere(of_class)[0])
        y, x = places[label]
        colours = np.unique(poisoned.images[images.labels == label][:, :, y, x], axis=0)
        assert len(colours) == 1
        assert set(colours.ravel()) <= {0, 255}
    assert len(set(places.values())) == 10


def test_ops_gives_classes_that_look_alike_different_places():
    one = make_images(20, classes=1, side=8)
    alike = type(one)(images=np.concatenate([one.images] * 3), labels=np.repeat(np.arange(3), 20), num_classes=3)
    changed = (craft("ops", alike, Crafting(seed=0), settings={}).images != alike.images).any(1)
    places = {tuple(np.argwhere(changed[alike.labels == label].any(0))[0]) for label in range(3)}
    assert len(places) == 3


def test_ops_takes_the_place_and_colour_of_the_highest_score(images):
    members = images.images[images.labels == 0] / 255
    scores = {}
    for red in (0, 1):
        for green in (0, 1):
            for blue in (0, 1):
                colour = np.array([red, green, blue])[:, None, None]
                distance = np.abs(members - colour).sum(1)
                scores[red, green, blue] = distance.mean(0) / distance.std(0)
    best = max(scores, key=lambda colour: scores[colour].max())
    y, x = np.unravel_index(scores[best].argmax(), (32, 32))
    poisoned = craft("ops", images, Crafting(seed=0), settings={})
    assert (poisoned.images[images.labels == 0][:, :, y, x] == np.array(best) * 255).all()


def test_classwise_noise_is_one_pattern_a_class(images):
    perturbation = POISONS["classwise_random"](images, Crafting(seed=0), linf=8 / 255)
    for label in range(10):
        assert np.ptp(perturbation[images.labels == label], axis=0).max() == 0
    patterns = perturbation[:10].ravel()
    assert np.abs(patterns).max() <= 8 / 255
    assert patterns.std() == pytest.approx(8 / 255 / np.sqrt(3), rel=0.03)
