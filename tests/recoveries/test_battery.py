"""What holds of every recovery, and the arithmetic of each."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image, ImageFilter
from sklearn.decomposition import PCA
from torchvision.io import decode_jpeg, encode_jpeg

from tests.conftest import make_images
from tests.recoveries.diffusion import untrained
from unlearnable.errors import InputError
from unlearnable.images import channel_statistics
from unlearnable.models import build
from unlearnable.probes import fitted_head
from unlearnable.recoveries import RECOVERIES, Needs, recover, recovery_named
from unlearnable.recoveries.augmentations import CutMix, Cutout
from unlearnable.recoveries.base import BatchRecovery, balanced_samples
from unlearnable.training import Augmentation, Method, Network, Trainer, TrainingRecipe, fit_named, mixed_loss
from unlearnable.training.pixels import resident

CPU = torch.device("cpu")
RECIPE = TrainingRecipe(epochs=2, batch_size=16, learning_rate=0.05, augmentation=Augmentation(crop=2, brightness=0.2))
SETTINGS = {
    "adversarial_training": {"steps": 2},
    "ueraser_max": {"repeats": 2},
    "early_stopping": {"clean_samples": 20},
    "dfr": {"clean_samples": 20},
    "pairs": {"clean_samples": 20},
    "projected_fine_tuning": {"clean_samples": 20, "epochs": 1},
    "d_vae": {"epochs": 1, "batch_size": 32, "width": 2, "latent": 2},
    "avatar": {"steps": 2, "batch_size": 32},
}


def settings_of(name, images):
    """Return small settings of a recovery for such images."""
    return SETTINGS.get(name, {}) | ({"weights": untrained(images.shape[0])} if name == "avatar" else {})


@pytest.fixture(params=[(3, 16), (1, 16), (3, 17)], ids=["RGB", "one channel", "odd side"])
def poisoned(request):
    channels, side = request.param
    images = make_images(32, classes=4, side=side)
    return replace(images, images=images.images[:, :channels])


def recovered_of(name, images, seed=0):
    """The set that a recovery makes of images which are brighter than their originals."""
    originals = replace(images, images=images.images - images.images // 8)
    return recover(name, images, clean=originals, seed=seed, device=CPU, settings=settings_of(name, images))


def trained(name, images, *, seed=0, done=(), method=None, recipe=RECIPE):
    recovery = recovery_named(name, settings_of(name, images))
    recovered = recovered_of(name, images, seed)
    method = method or recovery.method(images, seed=seed)
    seen = recovery.test(images, recovered)
    return list(fit_named("tiny_cnn", recovered, seen, like=images, recipe=recipe, seed=seed, device="cpu", done=done, method=method))


def same(first, second):
    return all(torch.equal(value, second.state[name]) for name, value in first.state.items())


@pytest.mark.parametrize("name", RECOVERIES)
@pytest.mark.usefixtures("global_generators_untouched")
def test_it_is_reproducible_leaves_its_input_alone_and_resumes(name, poisoned):
    before = poisoned.images.copy()
    whole = trained(name, poisoned)
    assert np.array_equal(poisoned.images, before)
    assert same(trained(name, poisoned)[-1], whole[-1])
    assert same(trained(name, poisoned, done=whole[:1])[-1], whole[-1])


@pytest.mark.parametrize("name", RECOVERIES)
def test_labels_ids_and_classes_stay(name, poisoned):
    recovered = recovered_of(name, poisoned)
    assert np.array_equal(recovered.labels, poisoned.labels)
    assert np.array_equal(recovered.ids, poisoned.ids)
    assert (recovered.num_classes, recovered.shape) == (poisoned.num_classes, poisoned.shape)


@cache
def control():
    """Return the last checkpoint without a recovery, which many are compared with."""
    return trained("none", make_images(64, classes=4))[-1]


@pytest.mark.parametrize("name", [name for name in RECOVERIES if name not in ("none", "early_stopping")])
def test_it_is_no_control(name):
    images = make_images(64, classes=4)
    assert not same(trained(name, images)[-1], control())


def test_a_recovery_that_changes_nothing_is_the_control():
    """Order, augmentation and the recipe's CutMix are those of plain training; what a recovery draws is its own, anew in every step."""
    drawn = []

    class Nothing(BatchRecovery):
        def draw(self, count, shape, own):
            drawn.append(float(torch.rand(1, generator=own)))
            return {}

    images = make_images(64, classes=4)
    mixing = replace(RECIPE, augmentation=replace(RECIPE.augmentation, cutmix=0.5))
    nothing, plain = Nothing().method(images, seed=0), Method()
    assert same(trained("none", images, method=nothing, recipe=mixing)[-1], trained("none", images, method=plain, recipe=mixing)[-1])
    assert len(set(drawn)) == len(drawn) == 8


def images_of(name, **settings):
    images = make_images(20, classes=4)
    recovered = recover(name, images, seed=0, device=CPU, settings=settings)
    return torch.from_numpy(images.images), torch.from_numpy(recovered.images)


def test_grayscale_is_the_luma_in_three_channels():
    before, after = images_of("grayscale")
    assert torch.equal(after[:, 0], after[:, 1])
    assert torch.equal(after[:, 0], after[:, 2])
    luma = torch.einsum("nchw,c->nhw", before.double(), torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64))
    assert (after[:, 0] - luma).abs().max() <= 0.6


def test_jpeg_is_what_the_codec_gives_back():
    before, after = images_of("jpeg", quality=30)
    assert all(torch.equal(decode_jpeg(encode_jpeg(image, 30)), other) for image, other in zip(before, after, strict=True))
    assert not torch.equal(after, images_of("jpeg", quality=10)[1])


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_bits_are_reduced(bits):
    ramp = replace(make_images(4, classes=4), images=np.arange(4 * 3 * 256, dtype=np.uint8).reshape(4, 3, 16, 16))
    recovered = recover("bdr", ramp, seed=0, device=CPU, settings={"bits": bits})
    before, after = torch.from_numpy(ramp.images), torch.from_numpy(recovered.images)
    assert len(after.unique()) == 2**bits
    assert ((after.int() - before).abs() <= 127.5 / (2**bits - 1) + 0.5).all()


def test_a_blur_keeps_the_mean_and_lowers_the_variance():
    before, after = images_of("gaussian_blur")
    assert after.float().mean() == pytest.approx(before.float().mean(), abs=1.5)
    assert after.float().var() < before.float().var()


def test_low_frequencies_are_those_of_scipys_cosine_transform():
    images = make_images(8, classes=4, side=20)
    images = replace(images, images=images.images[:, :, :17])
    coefficients = scipy.fft.dctn(images.images / 255, axes=(2, 3), norm="ortho")
    coefficients[:, :, 5:], coefficients[..., 6:] = 0, 0  # of 17 rows 0.3 are 5, of 20 columns 6
    expected = scipy.fft.idctn(coefficients, axes=(2, 3), norm="ortho").clip(0, 1) * 255
    found = recover("low_pass", images, seed=0, device=CPU, settings={}).images
    assert np.abs(found - expected).max() < 0.501


def test_of_few_frequencies_the_lowest_is_kept():
    before, after = images_of("low_pass", share=0.01)
    assert (after.double() - before.double().mean((2, 3), keepdim=True)).abs().max() < 0.501


@pytest.mark.parametrize("radius", [1, 2])
def test_a_median_is_pillows(radius):
    before, after = images_of("median_filter", radius=radius)
    for image, found in zip(before.permute(0, 2, 3, 1).numpy(), after.permute(0, 2, 3, 1).numpy(), strict=True):
        assert np.array_equal(Image.fromarray(image).filter(ImageFilter.MedianFilter(2 * radius + 1)), found)


def drawn_and_changed(name, images, **settings):
    recovery = recovery_named(name, settings)
    return recovery.transform(images, recovery.draw(len(images), images.shape[1:], torch.Generator().manual_seed(0)))


def test_a_kernel_leaves_what_is_flat():
    """What is in the middle of it less what is around is one, also on the border."""
    flat = torch.linspace(0.1, 0.9, 6).view(2, 3, 1, 1).expand(2, 3, 16, 20)
    assert torch.allclose(drawn_and_changed("sharpening", flat, deviation=0.0), flat, atol=1e-5)


def test_a_kernel_is_drawn_for_each_image():
    same = make_images(1, classes=1).images / 255
    first, second = drawn_and_changed("sharpening", torch.from_numpy(same).float().expand(2, -1, -1, -1))
    assert (first - second).abs().max() > 0.01


def test_a_sharpened_image_has_low_frequencies_alone():
    grey = 0.5 + 0.01 * torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))  # so that nothing is clipped
    coefficients = scipy.fft.dctn(drawn_and_changed("sharpening", grey, deviation=0.0).double().numpy(), axes=(2, 3), norm="ortho")
    assert np.abs(coefficients[:, :, :4, :6]).min() > 1e-6  # of 16 rows 0.3 are 4, of 20 columns 6
    assert max(np.abs(coefficients[:, :, 4:]).max(), np.abs(coefficients[..., 6:]).max()) < 1e-6


def test_a_hole_is_a_square_of_its_side_or_cut_by_the_edge():
    centres = Cutout().draw(200, (3, 16, 16), torch.Generator().manual_seed(0))
    holes = Cutout(side=0.5).transform(torch.ones(200, 3, 16, 16), centres) == 0
    rows, columns = holes[:, 0].any(2).sum(1), holes[:, 0].any(1).sum(1)
    assert torch.equal(holes[:, 0].sum((1, 2)), rows * columns)
    assert (rows.max(), columns.max()) == (8, 8)
    assert rows.min() >= 3


@pytest.fixture
def trainer():
    images = make_images(64, classes=4)
    model = build("tiny_cnn", shape=(3, 32, 32), num_classes=4, seed=0)
    return Trainer(model, replace(RECIPE, precision="float32"), channel_statistics(images), CPU)


def batch():
    images = make_images(16, classes=4)
    return torch.from_numpy(images.images).float() / 255, torch.from_numpy(images.labels)


def test_a_mixed_loss_is_the_mean_of_two_by_their_shares(trainer):
    images, labels = batch()
    order = torch.arange(15, -1, -1)
    trainer.model.eval()
    logits = trainer.forward(images)
    expected = 0.25 * trainer.cross_entropy(logits, labels) + 0.75 * trainer.cross_entropy(logits, labels[order])
    draws = {"order": order, "shares": torch.tensor([0.25, 0.75])}
    assert torch.allclose(mixed_loss(trainer, images, labels, draws), expected)


def test_cutmix_with_probability_zero_mixes_nothing(trainer):
    images, labels = batch()
    trainer.model.eval()
    drawn = [CutMix(probability=p).draw(16, images.shape[1:], torch.Generator().manual_seed(0)) for p in (0.0, 1.0)]
    losses = [CutMix().loss(trainer, images, labels, {}, draws).detach() for draws in drawn]
    assert losses[0] == trainer.cross_entropy(trainer.forward(images), labels)
    assert losses[0] != losses[1]


def test_an_attack_stays_in_its_ball_raises_the_loss_and_leaves_the_network_alone(trainer):
    images, labels = batch()
    recovery = recovery_named("adversarial_training", {"linf": 0.05, "step": 0.02, "steps": 5})
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    attacked = recovery.attacked(trainer, images, labels, recovery.draw(16, images.shape[1:], torch.Generator().manual_seed(0)))
    assert (attacked - images).abs().max() <= 0.05 + 1e-6
    assert (attacked.min() >= 0, attacked.max() <= 1) == (True, True)
    assert all(torch.equal(value, trainer.model.state_dict()[name]) for name, value in before.items())
    assert trainer.model.training
    trainer.model.eval()
    assert trainer.cross_entropy(trainer.forward(attacked), labels) > trainer.cross_entropy(trainer.forward(images), labels)


def test_early_stopping_measures_clean_images_and_trains_as_the_control():
    images = make_images(64, classes=4)
    stopped = trained("early_stopping", images)
    assert same(stopped[-1], trained("none", images)[-1])
    assert all(0 <= measured["held_out_accuracy"] <= 1 for measured in stopped[-1].history)
    assert recovery_named("early_stopping", {"clean_samples": 20}).needs.clean_samples == 20
    with pytest.raises(InputError, match=r"recover.early_stopping.clean_samples: .* at most 64 images, got size 65"):
        recovery_named("early_stopping", {"clean_samples": 65}).method(images, seed=0)


def test_a_new_head_takes_the_place_of_the_last_one_and_of_nothing_else():
    images = make_images(64, classes=4)
    renamed = replace(images, labels=(images.labels + 1) % 4)  # a poison by which the features are good and the head is all wrong
    recovery, recipe = recovery_named("dfr", {"clean_samples": 20, "l2": 0.1}), replace(RECIPE, precision="float32", epochs=3)
    ours, plain = (trained("none", renamed, method=method, recipe=recipe) for method in (recovery.method(images, seed=0), Method()))
    assert all(same(*pair) for pair in zip(ours[:-1], plain[:-1], strict=True))
    changed = {name for name, value in ours[-1].state.items() if not torch.equal(value, plain[-1].state[name])}
    assert changed == {"head.weight", "head.bias"}
    network = Network(build("tiny_cnn", shape=(3, 32, 32), num_classes=4, seed=0), channel_statistics(images), CPU, "float32")
    network.model.load_state_dict(plain[-1].state)
    samples = balanced_samples(images, 20, seed=0, setting="x")
    head = fitted_head(network.features(resident(samples, CPU)), torch.from_numpy(samples.labels), num_classes=4, l2=0.1)
    expected = head.logits(network.features(resident(images, CPU)))
    network.model.load_state_dict(ours[-1].state)
    assert torch.allclose(network.logits(resident(images, CPU)), expected, atol=1e-4)
    assert ours[-1].measured["test_accuracy"] == (expected.argmax(1) == torch.from_numpy(renamed.labels)).double().mean()


@pytest.mark.parametrize("name", ["dfr", "projected_fine_tuning"])
def test_clean_images_are_needed(name):
    assert recovery_named(name, {"clean_samples": 20}).needs == Needs(clean_samples=20)
    with pytest.raises(InputError, match=rf"recover.{name}.clean_samples: .* at most 64 images, got size 65"):
        recovery_named(name, {"clean_samples": 65}).method(make_images(64, classes=4), seed=0)


@pytest.mark.parametrize(("learning_rate", "shorter"), [(0.0001, True), (0.1, False)])
def test_weights_move_no_further_than_the_radius_and_less_where_steps_are_short(learning_rate, shorter, trainer):
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    settings = {"clean_samples": 20, "epochs": 2, "learning_rate": learning_rate, "radius": 0.05}
    recovery_named("projected_fine_tuning", settings).method(make_images(64, classes=4), seed=0).finish(trainer)
    moved = torch.cat([(weight - start).flatten() for weight, start in zip(trainer.model.parameters(), before, strict=True)]).norm()
    assert 0 < moved < 0.05 + 1e-5
    assert (moved < 0.049) == shorter


def seen(name, images, **settings):
    recovered = recover(name, images, seed=0, device=CPU, settings=settings)
    return recovered.projection, resident(recovered, CPU).flatten(1).numpy()


def test_class_means_are_gone_where_they_are_removed():
    images = make_images(64, classes=4)
    projection, left = seen("class_mean_projection", images)
    means = np.stack([left[images.labels == label].mean(0) for label in range(4)])
    assert np.abs(means).max() < 1e-5
    assert projection.removed_directions == 4
    projection, left = seen("class_mean_projection", images, centred=True)
    assert np.allclose([left[images.labels == label].mean(0) for label in range(4)], left.mean(0), atol=1e-5)
    assert projection.removed_directions == 3


def test_principal_components_are_those_of_scikit_learn():
    images = make_images(64, classes=4)
    flat = images.images.reshape(64, -1) / 255
    expected = PCA(3).fit(flat).components_
    projection, left = seen("pca_removal", images, components=3)
    assert np.allclose(np.linalg.svd(projection.basis.T @ expected.T)[1], 1, atol=1e-3)
    assert np.abs((left - flat.mean(0)) @ expected.T).max() < 1e-3
