"""Which sets are taken for protected, and what the numbers are."""

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.poisons import Crafting, craft
from unlearnable.probes import detection
from unlearnable.probes.detection import DETECTORS, THRESHOLDS, Asked, detect

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def unrelated() -> LabelledImages:
    """Smooth images that say nothing of their labels."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(500, 3, 4, 4), dtype=np.uint8)
    return LabelledImages(images=coarse.repeat(4, 2).repeat(4, 3), labels=rng.integers(0, 4, size=500), num_classes=4)


def scores(images: LabelledImages, *names: str) -> dict[str, float]:
    """Scores of some of the detectors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "DETECTORS", {name: DETECTORS[name] for name in names})
        return {name: each["score"] for name, each in detect(images, seed=0, device=CPU)["detectors"].items()}


def test_images_that_say_nothing_of_their_labels_set_off_no_detector(unrelated):
    found = detect(unrelated, seed=0, device=CPU)
    assert (found["images"], found["held_out"], found["alarms"]) == (400, 100, [])
    assert set(found["detectors"]) == set(THRESHOLDS)
    for each in found["detectors"].values():
        assert abs(each["score"]) < 0.2  # three deviations of 100 draws of four classes are 0.17


def test_noise_of_each_class_sets_off_the_simple_models_and_that_of_a_process_the_filters_alone(unrelated):
    of_classes = craft("classwise_random", unrelated, Crafting(seed=1), settings={"linf": 16 / 255})
    assert min(scores(of_classes, "linear", "two_layer").values()) > 0.6
    autoregressive = craft("ar", unrelated, Crafting(seed=1), settings={"l2": 1.0, "search": {"least_response": 2}})
    found = scores(autoregressive, "linear", "filters")
    assert found["filters"] > 0.6
    assert abs(found["linear"]) < 0.2


def test_a_network_that_saw_dark_images_alone_knows_others_by_a_bright_patch_and_not_by_a_shade():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    shades = (rng.integers(0, 25, size=(400, 3, 16, 16)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    patches = rng.integers(90, 110, size=(400, 3, 16, 16), dtype=np.uint8)
    for label in range(4):
        patches[labels == label, :, 4 * label : 4 * label + 2, 8] = 255
    by_shade, by_patch = (
        scores(LabelledImages(images=images, labels=labels, num_classes=4), "shifted")["shifted"] for images in (shades, patches)
    )
    assert by_shade < 0.2
    assert by_patch > 0.6


def test_the_score_is_cohens_kappa_as_scikit_learn_has_it(monkeypatch):
    images = make_images(100, classes=3)
    answers = np.random.default_rng(1).integers(0, 3, size=20)
    seen: list[Asked] = []

    def answer(asked: Asked) -> torch.Tensor:
        seen.append(asked)
        return torch.from_numpy(np.where(np.arange(20) < 8, asked.held_out.labels, answers))

    monkeypatch.setattr(detection, "DETECTORS", {"linear": answer})
    [found] = detect(images, seed=0, device=CPU)["detectors"].values()
    truth = seen[0].held_out.labels
    assert found["score"] == pytest.approx(cohen_kappa_score(truth, answer(seen[0]).numpy()))
    assert found["alarm"] == (found["score"] > THRESHOLDS["linear"])


def test_no_image_is_both_fitted_to_and_asked_about_and_at_most_a_thousand_are_drawn(monkeypatch):
    seen: list[Asked] = []

    def note(asked: Asked) -> torch.Tensor:
        seen.append(asked)
        return torch.zeros(len(asked.held_out), dtype=torch.int64)

    monkeypatch.setattr(detection, "DETECTORS", {"linear": note})
    images = make_images(1500, classes=3, side=8)
    detect(images, seed=0, device=CPU)
    detect(images, seed=1, device=CPU)
    fitted, held_out = (set(each.ids.tolist()) for each in (seen[0].fitted, seen[0].held_out))
    assert (len(fitted), len(held_out), fitted & held_out) == (800, 200, set())
    assert set(seen[1].held_out.ids.tolist()) != held_out


def test_the_same_seed_gives_the_same_answer_and_the_images_stay_as_they_are(unrelated):
    before = unrelated.images.copy()
    small = unrelated.subset(np.arange(60))
    assert detect(small, seed=3, device=CPU) == detect(small, seed=3, device=CPU)
    assert np.array_equal(unrelated.images, before)


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="detection: expected at least 10 images, got 9"):
        detect(make_images(9, classes=3), seed=0, device=CPU)
    assert set(DETECTORS) == set(THRESHOLDS)
