"""How like their originals images are, by the published formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.conftest import make_images
from unlearnable.images import Projection
from unlearnable.pipelines.evaluate.scores import _likeness
from unlearnable.pipelines.perceptibility import likeness
from unlearnable.summary import PARTS

CLEAN = make_images(20, classes=2)
NOISE = np.random.default_rng(0).integers(-9, 10, size=CLEAN.images.shape)
NOISY = replace(CLEAN, images=(CLEAN.images + NOISE).astype(np.uint8))


def ssim(first, second) -> float:
    """Wang et al. (2004), Equation 13, over windows of 11 pixels around each, mirrored at the borders; the mean over all."""

    def mean(values):
        return gaussian_filter(values, 1.5, truncate=3.5, axes=(1, 2), mode="mirror")

    mean_1, mean_2 = mean(first), mean(second)
    spread = mean(first**2) - mean_1**2 + mean(second**2) - mean_2**2
    together = mean(first * second) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * mean_1 * mean_2 + c1) * (2 * together + c2) / ((mean_1**2 + mean_2**2 + c1) * (spread + c2))).mean())


def expected(images) -> dict[str, float]:
    before, after = CLEAN.images / 255, images.pixels().astype(float)
    psnr = -10 * np.log10(np.square(after - before).mean((1, 2, 3)))
    return {"psnr": np.median(psnr), "ssim": np.median([ssim(*pair) for pair in zip(before, after, strict=True)])}


def projected():
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(NOISY.images[0].size, 4)))[0].astype(np.float32)
    return replace(NOISY, projection=Projection(basis=basis, centre=np.zeros(len(basis), np.float32)))


@pytest.mark.parametrize("images", [NOISY, projected()], ids=["as they are", "projected"])
def test_psnr_and_ssim_are_those_of_their_formulas(images):
    assert likeness(CLEAN, images) == pytest.approx(expected(images), rel=1e-3)


def test_originals_are_like_themselves_and_small_images_have_no_ssim():
    assert likeness(CLEAN, CLEAN) == pytest.approx({"psnr": 120, "ssim": 1})
    small = make_images(20, classes=2, side=8)
    assert set(likeness(small, small)) == {"psnr"}


def test_a_part_of_the_set_is_compared_with_its_own_originals(monkeypatch):
    monkeypatch.setattr("unlearnable.pipelines.perceptibility.MOST", 3)
    assert likeness(CLEAN, CLEAN.subset(np.arange(19, 4, -1))) == pytest.approx({"psnr": 120, "ssim": 1})


def test_scores_have_it_where_a_recovery_changed_images():
    assert _likeness(NOISY, CLEAN, NOISY) == {}
    found = _likeness(projected(), CLEAN, NOISY)
    assert found == {"likeness": {"poisoned": likeness(CLEAN, NOISY), "recovered": likeness(CLEAN, projected())}}
    [line] = PARTS["likeness"]({"likeness": {"poisoned": {"psnr": 30.04, "ssim": 0.876}, "recovered": {"psnr": 24.0}}})
    assert line == "likeness to the originals, median: poisoned PSNR 30.0 dB, SSIM 0.88; recovered PSNR 24.0 dB"
