import itertools
import os
import pickle

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tests.conftest import make_images
from tests.sources.releases import Calls
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.poisons import POISONS, Crafting, craft
from unlearnable.poisons.autoregressive import Search, _sweep, find_processes, read_processes, response
from unlearnable.poisons.cuda import _kernels as cuda_kernels
from unlearnable.seeds import numpy_generator


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


def shortcuts(clean, poisoned):
    """Return the place and the colour of each class; fail where its images do not share one pixel of a corner colour."""
    changed, found = (poisoned.images != clean.images).any(1), []
    for label in range(clean.num_classes):
        members = clean.labels == label
        [(y, x)] = np.argwhere(changed[members].any(0))
        [colour] = np.unique(poisoned.images[members][:, :, y, x], axis=0)
        assert set(colour.tolist()) <= {0, 255}
        found.append((int(y), int(x), *(colour // 255).tolist()))
    return found


def test_ops_changes_one_pixel_a_class_and_no_class_shares_its_colour_there(images):
    found = shortcuts(images, craft("ops", images, Crafting(seed=0), settings={}))
    assert len(set(found)) == 10


def test_ops_gives_classes_that_look_alike_different_shortcuts():
    one = make_images(20, classes=1, side=8)
    alike = type(one)(images=np.concatenate([one.images] * 3), labels=np.repeat(np.arange(3), 20), num_classes=3)
    assert len(set(shortcuts(alike, craft("ops", alike, Crafting(seed=0), settings={})))) == 3


def test_ops_scores_images_and_channels_together_and_takes_each_pair_once():
    """By hand, on two images of one row of two grey pixels, (51, 51) and (153, 204), in units of [0, 1] (0.2, 0.2) and (0.6, 0.8).

    Left, black is 0.4 +- 0.2 away (ratio 2) and white 0.6 +- 0.2 (3); right, black 0.5 +- 0.3 (1.67) and white the same.
    """
    pair = np.array([[[[51, 51]]], [[[153, 204]]]], dtype=np.uint8)
    alike = LabelledImages(images=np.concatenate([pair] * 4), labels=np.repeat(np.arange(4), 2), num_classes=4)
    found = shortcuts(alike, craft("ops", alike, Crafting(seed=0), settings={}))
    assert found[:2] == [(0, 0, 1), (0, 0, 0)]
    assert set(found[2:]) == {(0, 1, 0), (0, 1, 1)}


def test_ops_counts_channels_as_images():
    """One image whose one pixel is (0, 0, 255): white is (1, 1, 0) away, 2/3 +- 0.471 and ratio 1.41; its opposite is 1 +- 0 away."""
    image = np.array([0, 0, 255], dtype=np.uint8).reshape(1, 3, 1, 1)
    one = LabelledImages(images=image, labels=np.zeros(1, dtype=np.int64), num_classes=1)
    assert shortcuts(one, craft("ops", one, Crafting(seed=0), settings={})) == [(0, 0, 1, 1, 0)]


def test_ops_refuses_more_classes_than_pairs():
    images = make_images(9, classes=9, side=2)
    grey = LabelledImages(images=images.images[:, :1], labels=images.labels, num_classes=9)
    with pytest.raises(InputError, match="poison 'ops': expected at most 8 classes, one pixel and colour each, got 9"):
        craft("ops", grey, Crafting(seed=0), settings={})


def test_classwise_noise_is_one_pattern_a_class(images):
    perturbation = POISONS["classwise_random"](images, Crafting(seed=0), linf=8 / 255)
    for label in range(10):
        assert np.ptp(perturbation[images.labels == label], axis=0).max() == 0
    patterns = perturbation[:10].ravel()
    assert np.abs(patterns).max() <= 8 / 255
    assert patterns.std() == pytest.approx(8 / 255 / np.sqrt(3), rel=0.03)


# ---- autoregressive


def coefficients(classes, *, channels=3):
    """Return coefficients of a list of classes, as the authors' files have them: the last of nine is the pixel itself."""
    drawn = torch.rand(classes, channels, 3, 3, generator=torch.Generator().manual_seed(0))
    drawn[:, :, 2, 2] = 0
    return list(drawn / drawn.sum((2, 3), keepdim=True))


def test_processes_may_come_from_a_file(images, tmp_path):
    torch.save(coefficients(10), tmp_path / "params.pt")
    found = read_processes(tmp_path / "params.pt", images)
    assert found.shape == (10, 3, 8)
    assert np.allclose(found.sum(2), 1)
    assert found[4, 2, 5] == pytest.approx(float(coefficients(10)[4][2, 1, 2]))
    perturbation = POISONS["ar"](images, Crafting(seed=0), l2=1.0, search=Search(), processes=str(tmp_path / "params.pt"))
    answers = [response(found[label], perturbation[index].astype(float)) for index, label in enumerate(images.labels[:10])]
    assert max(answers) < 1e-3  # a process's own filter answers nothing


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (coefficients(9), r"got 9 of \(3, 3, 3\)"),
        (coefficients(10, channels=1), r"got 10 of \(1, 3, 3\)"),
        ({"a": 1}, "got dict"),
        ([*coefficients(9), torch.full((3, 3, 3), torch.nan)], "got numbers that are not finite for class 9"),
        (torch.zeros(300_000), "got a file of 1,20"),
    ],
)
def test_a_file_without_a_process_for_each_class_is_one_line(content, got, images, tmp_path):
    torch.save(content, tmp_path / "params.pt")
    with pytest.raises(InputError, match=rf"^processes \(.*params\.pt\): expected a list of 10 tensors \(3, 3, 3\), .*{got}"):
        read_processes(tmp_path / "params.pt", images)


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps(Calls(os.system, "touch HARM"))], ids=["empty", "text", "harm"])
def test_a_file_that_is_none_of_torchs_is_one_line_and_runs_nothing(content, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"^processes \(.*params\.pt\): expected a list of 10 tensors"):
        read_processes(tmp_path / "params.pt", images)
    assert [path.name for path in tmp_path.iterdir()] == ["params.pt"]


def ar(images, seed=0, **settings):
    return POISONS["ar"](images, Crafting(seed=seed), l2=1.0, search=Search(**{"least_response": 3.0} | settings))


def test_ar_has_the_published_norm_before_rounding(images):
    norms = np.sqrt(np.square(ar(images), dtype=float).sum((1, 2, 3)))
    assert np.allclose(norms, 1.0, rtol=1e-5)


def test_ar_linf_touches_its_bound_in_every_image(images):
    perturbation = POISONS["ar_linf"](images, Crafting(), linf=8 / 255, search=Search(least_response=3.0))
    assert np.allclose(np.abs(perturbation).max((1, 2, 3)), 8 / 255, rtol=1e-5)


def test_a_process_is_recognised_by_its_own_filter_alone(images):
    """The published counterexample: a non-linear detector with fixed filters tells the classes apart without an error."""
    processes = find_processes(images, 0, Search(least_response=3.0))
    perturbation = ar(images)
    answers = np.array([[response(process, signal) for process in processes] for signal in perturbation[:60].astype(float)])
    assert (answers.argmin(1) == images.labels[:60]).all()
    assert np.abs(np.take_along_axis(answers, images.labels[:60, None], axis=1)).max() < 1e-3
    assert np.partition(answers, 1, axis=1)[:, 1].min() > 0.5


def test_signals_are_swept_row_by_row_and_their_first_rows_and_columns_cut_off():
    """Against the plain loop: each pixel is the sum of the eight before it in its window."""
    coefficients = np.random.default_rng(0).uniform(-0.3, 0.3, size=(2, 1, 8))
    field = np.random.default_rng(5).standard_normal((9, 10, 1, 2))
    for y, x, signal in itertools.product(range(2, 9), range(2, 10), range(2)):
        window = field[y - 2 : y + 1, x - 2 : x + 1, 0, signal].ravel()[:8]
        field[y, x, 0, signal] = window @ coefficients[signal, 0]
    expected = field[4:, 4:].transpose(3, 2, 0, 1)
    assert np.allclose(_sweep(coefficients, (1, 5, 6), np.random.default_rng(5)), expected)


def test_no_signal_of_a_process_that_was_found_diverges(images):
    processes = find_processes(images, 0, Search(least_response=3.0))
    signals = _sweep(processes.repeat(5, axis=0), images.shape, np.random.default_rng(1))
    assert np.linalg.norm(signals.reshape(50, -1), axis=1).max() < 150


def test_ar_noise_is_drawn_anew_for_each_image(images):
    first, second = ar(images)[images.labels == 0][:2]
    assert np.abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.5


def test_no_linear_rule_tells_ar_apart_where_it_tells_lsp_apart():
    images = make_images(1600, classes=4, side=8)
    accuracies = {}
    for name, settings in (("ar", {"search": Search(least_response=1.0)}), ("lsp", {})):
        flat = POISONS[name](images, Crafting(), l2=1.0, **settings).reshape(1600, -1)
        accuracies[name] = LinearDiscriminantAnalysis().fit(flat, images.labels).score(flat, images.labels)
    assert accuracies["lsp"] == 1.0
    assert accuracies["ar"] < 0.75


def test_any_number_of_classes_has_processes_that_are_finite():
    images = make_images(130, classes=130, side=16)
    assert np.isfinite(ar(images, least_response=None)).all()
    assert np.allclose(find_processes(images, 0, Search()).sum(-1), 1)


def test_the_published_response_is_asked_for_where_none_is_given():
    for classes, side, published in ((10, 32, 10.0), (11, 32, 3.0), (3, 16, 5.0)):
        assert Search().response_for(make_images(classes, classes=classes, side=side)) == published


def test_processes_that_cannot_be_found_are_said():
    with pytest.raises(InputError, match=r"poison 'ar': expected 3 processes in 300 attempts for each with least_response 1000, got 1"):
        find_processes(make_images(3, classes=3), 0, Search(least_response=1000.0, attempts=300))


# ---- synthetic


@pytest.mark.parametrize(("name", "side"), [("regions_4", 2), ("regions_16", 4), ("regions_64", 8)])
def test_regions_are_flat_and_of_one_colour_a_class(images, name, side):
    perturbation = POISONS[name](images, Crafting(), linf=8 / 255)
    grid = perturbation.reshape(200, 3, side, 32 // side, side, 32 // side)
    assert np.ptp(grid, axis=(3, 5)).max() == 0
    assert len(np.unique(perturbation.reshape(200, -1), axis=0)) == 10
    assert len(np.unique(perturbation[0, 0])) == side * side


def test_l2_regions_have_their_norm_before_rounding(images):
    norms = np.sqrt(np.square(POISONS["l2_regions_4"](images, Crafting(), l2=1.0), dtype=float).sum((1, 2, 3)))
    assert np.allclose(norms, 1.0, rtol=1e-5)


def test_corner_colours_have_the_published_norm(images):
    """Of CIFAR-10's 3,072 values each is 8/255: 1.74 in all."""
    norms = np.sqrt(np.square(POISONS["sign_regions_16"](images, Crafting()), dtype=float).sum((1, 2, 3)))
    assert np.allclose(norms, 1.74, atol=0.005)


def test_regions_refuse_images_that_they_cannot_cut():
    with pytest.raises(InputError, match="poison 'regions_16': expected images of a height and width divisible by 4, got 6 x 6"):
        POISONS["regions_16"](make_images(3, classes=3, side=6), Crafting(), linf=0.1)


def test_a_pattern_that_cannot_be_cut_is_named():
    with pytest.raises(InputError, match="poison 'sign_regions_64': expected images of a height and width divisible by 8, got 6 x 6"):
        POISONS["sign_regions_64"](make_images(3, classes=3, side=6), Crafting(), linf=0.1)


@pytest.mark.parametrize(("name", "side"), [("patches_4", 4), ("patches_8", 8)])
def test_patches_repeat_one_tile_a_class(images, name, side):
    perturbation = POISONS[name](images, Crafting(), linf=8 / 255)
    assert np.array_equal(perturbation[..., side:], perturbation[..., :-side])
    assert np.array_equal(perturbation[..., side:, :], perturbation[..., :-side, :])
    assert np.array_equal(np.unique(perturbation), np.float32([-8 / 255, 8 / 255]))
    assert len(np.unique(perturbation.reshape(200, -1), axis=0)) == 10


def test_patches_are_cut_at_the_edge():
    assert POISONS["patches_8"](make_images(3, classes=3, side=12), Crafting(), linf=0.1).shape == (3, 3, 12, 12)


# ---- CUDA


def test_cuda_filters_with_one_kernel_a_class_and_divides_by_the_brightest(images):
    poisoned = images.images / 255 + POISONS["cuda"](images, Crafting(seed=1), blur=0.3)
    kernels = cuda_kernels(10, 0.3, numpy_generator(1, "poison/cuda"))
    assert ((kernels == 1).sum((1, 2)) == 1).all()
    assert (np.sort(kernels.reshape(10, 9), axis=1)[:, :8] <= 0.3).all()
    for index in (0, 17):
        filtered = [correlate(channel / 255, kernels[images.labels[index]], mode="constant") for channel in images.images[index]]
        assert np.allclose(poisoned[index], np.stack(filtered) / np.max(filtered), atol=1e-5)


def test_cuda_leaves_black_images_black():
    black = type(make_images(3, classes=3))(images=np.zeros((2, 3, 8, 8), np.uint8), labels=np.arange(2), num_classes=2)
    assert not craft("cuda", black, Crafting(), settings={"blur": 0.3}).images.any()
