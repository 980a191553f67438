"""What each poison with a surrogate is to do to it, on images small enough for seconds."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from tests.conftest import make_images
from unlearnable.adversarial import within
from unlearnable.errors import InputError
from unlearnable.models import build
from unlearnable.poisons import POISONS, Crafting, adversarial_noise, apply, craft, require
from unlearnable.poisons.adversarial_noise import Attack, _attacked, _in_steps, shift_and_flip
from unlearnable.poisons.augmented import risen_and_fallen
from unlearnable.poisons.binding import Generation, wrong_labels
from unlearnable.poisons.error_minimising import ErrorMinimisation
from unlearnable.poisons.mutual_information import gathered
from unlearnable.poisons.ntga import prediction, tangent_kernel
from unlearnable.poisons.robust_error_minimising import Steps, _defended, _raised
from unlearnable.poisons.self_ensemble import _member, kept_epochs
from unlearnable.poisons.surrogate import CROP_AND_FLIP, FALLING, Surrogate, Workshop, mean_of_each_class
from unlearnable.seeds import torch_generator
from unlearnable.training import TrainingRecipe
from unlearnable.training.augmentation import augment
from unlearnable.training.simclr import strong_view

EIGHT = 8 / 255
SMALL = Surrogate(model="tiny_cnn", batch_size=20, learning_rate=0.02, precision="float32")


@pytest.fixture(scope="module")
def images():
    return make_images(120, classes=3)


def recorded():
    rounds = []
    return rounds, Crafting(seed=1, report=lambda number, measured: rounds.append((number, measured)))


def test_the_surrogate_sees_images_normalised_by_the_clean_ones(images):
    trainer = Workshop(images, Crafting(), SMALL, "test").trainer
    pixels = torch.from_numpy(images.images) / 255
    seen = torch.addcmul(trainer.shift, pixels, trainer.scale)
    assert torch.allclose(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(seen.std((0, 2, 3)), torch.ones(3), atol=1e-3)


def test_the_surrogate_starts_from_other_weights_than_the_trainings_and_than_other_poisons(images):
    heads = [Workshop(images, Crafting(seed=1), SMALL, name).trainer.model.head.weight for name in ("tap", "rem")]
    heads.append(build("tiny_cnn", shape=(3, 32, 32), num_classes=3, seed=1).head.weight)
    assert len({tuple(head.flatten().tolist()) for head in heads}) == 3


def test_the_surrogate_starts_from_the_weights_that_are_given(images, tmp_path):
    state = build("tiny_cnn", shape=(3, 16, 16), num_classes=3, seed=7).state_dict()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    found = Workshop(images, Crafting(), replace(SMALL, weights=str(path)), "bait").trainer.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_weights_of_another_network_are_named_as_those_of_the_surrogate(images, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(build("small_cnn", shape=(3, 16, 16), num_classes=3, seed=7).state_dict(), path)
    with pytest.raises(InputError, match=r"^craft\.bait\.surrogate\.weights: expected the weights of 'tiny_cnn' for these images, got "):
        craft("bait", make_images(40, classes=4, side=32), Crafting(), settings={"surrogate": {"model": "tiny_cnn", "weights": str(path)}})


# ---- error-minimising


@pytest.mark.parametrize(("name", "most"), [("em_samplewise", 40), ("em_classwise", 40), ("em_samplewise", None), ("em_classwise", None)])
def test_rounds_end_at_the_stated_error_and_each_is_reported(images, name, most):
    rounds, crafting = recorded()
    noise = ErrorMinimisation(linf=EIGHT, step=EIGHT / 4, steps=3, stop_error=0.05, rounds=most)
    POISONS[name](images, crafting, surrogate=SMALL, noise=noise)
    assert [number for number, _ in rounds] == list(range(1, len(rounds) + 1))
    assert rounds[-1][1]["train_error"] <= 0.05
    assert all(measured["train_error"] > 0.05 for _, measured in rounds[:-1])
    assert len(rounds) < 40


def test_rounds_end_in_any_case(images):
    rounds, crafting = recorded()
    slow = replace(SMALL, learning_rate=1e-9)
    POISONS["em_samplewise"](images, crafting, surrogate=slow, noise=ErrorMinimisation(steps=1, stop_error=0.0, rounds=2))
    assert len(rounds) == 2


@pytest.mark.parametrize("name", ["em_samplewise", "em_classwise"])
def test_the_surrogate_is_trained_on_the_perturbed_images(images, name, monkeypatch):
    seen = []
    monkeypatch.setattr("unlearnable.training.Trainer.step", lambda self, batch, labels, generator: seen.append(batch))
    noise = ErrorMinimisation(step=EIGHT / 2, steps=1, train_batches=1, stop_error=0.0, rounds=2)
    POISONS[name](images, Crafting(), surrogate=SMALL, noise=noise)
    pixels = {image.tobytes() for image in images.images.astype(np.float32) / np.float32(255)}
    whole = [all(image.numpy().tobytes() in pixels for image in batch) for batch in seen]
    assert whole == [True, False]


def test_samplewise_noise_lowers_the_loss_of_a_network_that_never_saw_it(images):
    noise = ErrorMinimisation(linf=EIGHT, step=EIGHT / 4, steps=5, rounds=3, stop_error=0.0)
    delta = torch.from_numpy(POISONS["em_samplewise"](images, Crafting(seed=1), surrogate=SMALL, noise=noise))
    workshop = Workshop(images, Crafting(seed=2), SMALL, "another")
    workshop.train()
    losses, clean = workshop.losses(workshop.labels), workshop.images(torch.arange(120))
    assert losses(clean + delta).mean() < losses(clean).mean()


def test_classwise_noise_is_one_pattern_a_class_and_samplewise_is_not(images):
    noise = ErrorMinimisation(linf=EIGHT, step=EIGHT / 4, steps=2, rounds=2)
    patterns = {name: POISONS[name](images, Crafting(), surrogate=SMALL, noise=noise) for name in ("em_classwise", "em_samplewise")}
    distinct = {name: len(np.unique(pattern.reshape(120, -1), axis=0)) for name, pattern in patterns.items()}
    assert distinct == {"em_classwise": 3, "em_samplewise": 120}


def test_ops_plus_em_is_the_one_with_the_other_on_top(images):
    settings = {"surrogate": vars(SMALL), "noise": {"steps": 1, "rounds": 1}}
    em = craft("em_samplewise", images, Crafting(), settings=settings)
    both = craft("ops_plus_em", images, Crafting(), settings=settings)
    shortcut = craft("ops", images, Crafting(), settings={}).images
    places = [(shortcut != images.images)[images.labels == label].any((0, 1)) for label in range(3)]
    of_shortcuts = np.stack(places)[images.labels][:, None]
    assert of_shortcuts.sum((1, 2, 3)).tolist() == [1] * 120
    assert np.array_equal(both.images, np.where(of_shortcuts, shortcut, em.images))


def test_mi_ue_compares_each_image_with_its_own_class_and_with_all(monkeypatch, images):
    """Two classes at a right angle: log(1 + exp(-1 / 0.1)). Three in one direction: log(3). One class alone: log(1)."""
    workshop = Workshop(images, Crafting(), SMALL, "mi_ue")
    monkeypatch.setattr(workshop.trainer, "penultimate", lambda features: features)
    right, same = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[1.0, 2.0]] * 3)
    assert gathered(workshop, torch.tensor([0, 1]), 0.1)(right).tolist() == pytest.approx([4.54e-5, 4.54e-5], rel=1e-2)
    assert gathered(workshop, torch.tensor([0, 1, 2]), 0.1)(same).tolist() == pytest.approx([1.0986] * 3, rel=1e-4)
    assert gathered(workshop, torch.tensor([1, 1]), 0.1)(right).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_views_of_aue_are_cropped_and_mirrored_and_some_in_other_colours_or_grey():
    """A crop of a flat image shows nothing, so at half strength 0.6 x 0.9 of them stay and 0.1 are grey. Half are mirrored."""
    flat = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1).expand(3000, 3, 4, 4)
    seen = strong_view(flat, strength=0.5, generator=torch_generator(0, "views"))
    assert ((seen - flat).abs().amax((1, 2, 3)) < 1e-6).float().mean() == pytest.approx(0.54, abs=0.03)
    assert (np.ptp(seen.numpy(), axis=1).max((1, 2)) < 1e-6).mean() == pytest.approx(0.1, abs=0.02)
    slope = torch.linspace(0, 1, 32).expand(500, 1, 32, 32)
    rise = strong_view(slope, strength=0.5, generator=torch_generator(0, "views")).diff(dim=3).mean((1, 2, 3))
    assert (rise < 0).float().mean() == pytest.approx(0.5, abs=0.08)


def test_the_rate_of_aap_is_that_of_the_published_function():
    """Its cosine_annealing gave these rates in epochs 1, 10, 11, 26 and 40 of 40, of which 10 are the warm-up."""
    falling = TrainingRecipe(learning_rate=0.5, epochs=30, **FALLING)
    rates = [0.5 * risen_and_fallen(falling, done, 10) for done in (0, 9, 10, 25, 39)]
    assert rates == pytest.approx([0.05, 0.5, 0.5, 0.2500005, 0.00137052], abs=1e-8)


# ---- adversarial examples


def attacked(name, images, **attack):
    """Return the poisoned set of a strong attack, and a network trained as the surrogate was."""
    settings = {"linf": 0.2, "step": 0.02, "steps": 20, "restarts": 1, "shift": 0.0} | attack
    perturbation = POISONS[name](images, Crafting(seed=1), surrogate=SMALL, epochs=5, attack=Attack(**settings))
    schedule = {"epochs": 5} if name == "hypo" else _in_steps(5)
    workshop = Workshop(images, Crafting(seed=1), SMALL, name, schedule=schedule, augmentation=CROP_AND_FLIP)
    workshop.train()
    return torch.from_numpy(perturbation), workshop


def test_tap_is_taken_for_the_next_class(images):
    delta, workshop = attacked("tap", images)
    logits = workshop.trainer.forward(workshop.images(torch.arange(120)) + delta)
    assert (logits.argmax(1) == (workshop.labels + 1) % 3).float().mean() > 0.9


def test_error_max_raises_the_error_and_hypo_lowers_the_loss(images):
    delta, workshop = attacked("error_max", images)
    assert workshop.error(delta) > workshop.error(None) + 0.3
    delta, workshop = attacked("hypo", images)
    losses, clean = workshop.losses(workshop.labels), workshop.images(torch.arange(120))
    assert losses(clean + delta).mean() < 0.5 * losses(clean).mean()


def test_one_restart_is_kept_for_all_images_the_one_with_the_lowest_mean(images, monkeypatch):
    restarts = iter((0.05, -0.2, 0.2))
    monkeypatch.setattr(adversarial_noise, "_attacked", lambda workshop, attack, losses, images, deviation: images * 0 + next(restarts))
    delta, workshop = attacked("tap", images, restarts=3)
    losses, clean = workshop.losses((workshop.labels + 1) % 3), workshop.images(torch.arange(120))
    with torch.no_grad():
        means = {value: float(losses(clean + value).mean()) for value in (0.05, -0.2, 0.2)}
    assert len(delta.unique()) == 1
    assert float(delta.unique()) == pytest.approx(min(means, key=means.get))


def test_hypo_starts_at_the_image_and_tap_at_noise(images):
    reached = {name: attacked(name, images, step=1e-4, steps=1)[0].abs() for name in ("hypo", "tap")}
    assert reached["hypo"].max() == pytest.approx(1e-4, rel=1e-3)
    assert reached["tap"].mean() > 0.05


def test_the_published_surrogate_of_tap_falls_at_epochs_14_24_and_35_of_40():
    assert _in_steps(40)["milestones"] == [14, 24, 35]


def test_what_a_shifted_image_leaves_free_has_the_mean_colour(images):
    workshop, seen = Workshop(images, Crafting(seed=1), SMALL, "tap"), []

    def losses(shown):
        seen.append(shown)
        return shown.sum((1, 2, 3))

    grey = workshop.mean.expand(20, 3, *images.shape[1:])
    _attacked(workshop, Attack(linf=1e-6, step=1e-6, steps=1), losses, grey, deviation=0.0)
    assert torch.allclose(seen[0], grey, atol=1e-4)


def test_the_surrogate_reports_every_epoch(images):
    rounds, crafting = recorded()
    POISONS["hypo"](images, crafting, surrogate=SMALL, epochs=3, attack=Attack(steps=1, restarts=1, shift=0.0))
    assert [number for number, _ in rounds] == [1, 2, 3]
    assert rounds[-1][1]["loss"] < rounds[0][1]["loss"]


def test_shift_and_flip_moves_by_whole_pixels_where_asked_and_passes_gradients():
    images = torch.rand(64, 3, 8, 8, generator=torch_generator(0, "test"), requires_grad=True)
    unmoved = shift_and_flip(images, 0.0, torch_generator(1, "test"))
    mirrored = torch.tensor([torch.allclose(new, old.flip(-1), atol=1e-5) for new, old in zip(unmoved, images, strict=True)])
    same = torch.tensor([torch.allclose(new, old, atol=1e-5) for new, old in zip(unmoved, images, strict=True)])
    assert (mirrored ^ same).all()
    assert 10 < mirrored.sum() < 54
    [gradient] = torch.autograd.grad(shift_and_flip(images, 2.0, torch_generator(1, "test")).sum(), images)
    assert gradient.abs().sum() > 0
    far = shift_and_flip(torch.ones(64, 3, 8, 8), 8.0, torch_generator(2, "test")).mean((1, 2, 3))
    assert far.min() < 0.3
    assert far.max() > 0.6


# ---- robust


def test_rem_noise_is_in_whole_levels(images):
    steps = Steps(linf=EIGHT, step=EIGHT / 4, steps=2)
    perturbation = POISONS["rem"](
        images, Crafting(), surrogate=SMALL, train_steps=2, defender=steps, adversary=Steps(linf=EIGHT / 2, step=EIGHT / 2, steps=1)
    )
    levels = perturbation * 255
    assert np.allclose(levels, levels.round(), atol=1e-4)
    assert np.array_equal(apply(images, perturbation).images, images.images + levels.round().astype(int))


def test_rem_noise_lowers_the_loss_that_an_adversary_has_raised(images):
    defender, adversary = Steps(linf=2 * EIGHT, step=EIGHT / 2, steps=5), Steps(linf=2 * EIGHT, step=2 * EIGHT, steps=1)
    workshop = Workshop(images, Crafting(), SMALL, "judge", schedule={"epochs": 4})
    workshop.train()
    everything = torch.arange(120)
    delta = _defended(workshop, everything, defender, adversary, 2)
    clean = workshop.images(everything)
    random = within(torch.randn(clean.shape, generator=torch_generator(0, "test")).sign() * 2 * EIGHT, clean, 2 * EIGHT)
    losses, raised, plain = workshop.losses(workshop.labels), [], []
    for noise in (delta, random):
        seen = [augment(clean + noise, CROP_AND_FLIP, torch_generator(number, "test")) for number in range(8)]
        plain.append(float(torch.stack([losses(images).mean().detach() for images in seen]).mean()))
        raised.append(
            float(
                torch.stack(
                    [losses(images + _raised(workshop, images, workshop.labels, adversary)).mean().detach() for images in seen]
                ).mean()
            )
        )
    assert raised[0] < 0.9 * raised[1]
    assert plain[0] < raised[0]


def test_rem_trains_its_surrogate_and_reports_it(images):
    rounds, crafting = recorded()
    steps = Steps(linf=EIGHT, step=EIGHT, steps=1)
    POISONS["rem"](images, crafting, surrogate=SMALL, train_steps=20, defender=steps, adversary=steps, transformations=1)
    assert [number for number, _ in rounds] == list(range(1, 21))
    assert np.mean([m["loss"] for _, m in rounds[-5:]]) < np.mean([m["loss"] for _, m in rounds[:5]])


# ---- self-ensemble


def test_checkpoints_of_sep_are_those_that_the_published_code_takes():
    """Of 120 files in the order of their epochs it takes every eighth or fourth, the last one included."""
    assert kept_epochs(120, 15) == {8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120}
    assert sorted(kept_epochs(120, 30))[::10] == [4, 44, 84]
    assert kept_epochs(7, 3) == {2, 4, 7}


def test_a_checkpoint_of_sep_stays_as_it_is_when_the_surrogate_goes_on_learning():
    workshop = Workshop(make_images(6, classes=3), Crafting(), SMALL, "sep")
    distances, seen = _member(workshop)(workshop.labels), workshop.images(torch.arange(6))
    before = distances(seen)
    with torch.no_grad():
        for parameter in workshop.trainer.model.parameters():
            parameter.add_(0.1)
    assert torch.equal(distances(seen), before)


def test_more_checkpoints_than_epochs_are_one_line(images):
    with pytest.raises(InputError, match=r"^poison 'sep': expected at most a checkpoint an epoch, got 15 of 14$"):
        require("sep", images, {"epochs": 14})


# ---- binding to wrong classes


def test_the_mean_of_each_class_is_zero_where_it_has_no_image():
    assert mean_of_each_class(torch.tensor([[1.0], [5.0], [3.0]]), torch.tensor([2, 0, 2]), 4).tolist() == [[5.0], [0.0], [2.0], [0.0]]


def test_wrong_classes_of_bait_are_the_likeliest_any_and_the_least_likely():
    logits, labels = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 2.0, 1.0, 4.0]]).repeat(100, 1), torch.tensor([0, 1]).repeat(100)
    adapted = SimpleNamespace(forward=lambda images: logits)
    likeliest, others, least = (wrong_labels(adapted, logits, labels, stage, torch_generator(0, "wrong")) for stage in range(3))
    assert likeliest.tolist() == [1, 3] * 100
    assert least.tolist() == [3, 0] * 100
    assert (set(others[::2].tolist()), set(others[1::2].tolist())) == ({1, 2, 3}, {0, 2, 3})


def test_bait_is_one_pattern_a_class_also_where_sides_are_no_multiple_of_eight():
    images = make_images(6, classes=3, side=12)
    patterns = POISONS["bait"](images, Crafting(), rounds=1, surrogate=SMALL, generator=Generation(width=1, blocks=1))
    assert patterns.shape == (6, 3, 12, 12)
    assert len(np.unique(patterns.reshape(6, -1), axis=0)) == 3


def test_images_that_are_too_small_for_bait_are_one_line():
    with pytest.raises(InputError, match=r"^poison 'bait': expected images of at least 9 x 9, got 8 x 8$"):
        require("bait", make_images(3, classes=3, side=8), {})


# ---- NTGA


def test_the_tangent_kernel_is_that_of_a_wide_network():
    """Closed form against the gradients of a network of two layers and 2,000 units, in the parametrisation of the kernel."""
    width, size = 2000, 6
    generator = torch_generator(0, "test")
    inputs = torch.rand(2, size, generator=generator, dtype=torch.float64)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((width, size), (width, width)))
    biases = [torch.randn(width, generator=generator, dtype=torch.float64) * 0.18**0.5 for _ in range(2)]
    scale = 1.76**0.5
    hidden = torch.erf(inputs @ first.T * scale / size**0.5 + biases[0])
    before = [inputs @ first.T * scale / size**0.5 + biases[0], hidden @ second.T * scale / width**0.5 + biases[1]]
    slopes = [2 / torch.pi**0.5 * torch.exp(-(z**2)) for z in before]
    below = 1.76 * inputs @ inputs.T / size + 0.18
    through = torch.einsum("ij,aj,bj->iab", second**2, slopes[0], slopes[0]) * 1.76 / width
    empirical = torch.einsum("ai,bi,iab->ab", slopes[1], slopes[1], through * below + (1.76 * hidden @ hidden.T / width + 0.18)) / width
    assert torch.allclose(tangent_kernel(inputs, inputs, 2), empirical, rtol=0.05)


def test_the_prediction_is_the_published_formula():
    train, test = (torch.rand(n, 12, generator=torch_generator(n, "test"), dtype=torch.float64) for n in (20, 7))
    target = F.one_hot(torch.arange(20) % 3, 3).double()
    kernel = tangent_kernel(train, train, 5)
    kernel = kernel + 1e-4 * kernel.diagonal().mean() * torch.eye(20, dtype=torch.float64)
    exponent = torch.matrix_exp(-kernel * 64 / target.numel())
    expected = tangent_kernel(test, train, 5) @ torch.linalg.solve(kernel, target - exponent @ target)
    assert torch.allclose(prediction(train, target, test, layers=5, time=64.0, regularisation=1e-4), expected, atol=1e-8)


def test_after_long_training_the_prediction_is_that_of_kernel_regression():
    train = torch.rand(10, 30, generator=torch_generator(0, "test"), dtype=torch.float64)
    target = F.one_hot(torch.arange(10) % 2, 2).double()
    assert torch.allclose(prediction(train, target, train, layers=1, time=1e6, regularisation=0.0), target, atol=1e-3)


def test_ntga_spoils_what_is_predicted_for_other_images(images):
    linf = 0.1
    perturbation = POISONS["ntga"](images, Crafting(), linf=linf, step=linf / 4, steps=5, block_size=60)
    others = make_images(90, classes=3, seed=5)
    seen, answers = torch.from_numpy(others.images).flatten(1).double() / 255, torch.from_numpy(others.labels)
    losses = []
    for delta in (np.zeros_like(perturbation), perturbation):
        train = torch.from_numpy(images.images[:60] / 255 + delta[:60]).flatten(1).double()
        target = F.one_hot(torch.from_numpy(images.labels[:60]), 3).double()
        losses.append(float(F.cross_entropy(prediction(train, target, seen, layers=5, time=64.0, regularisation=1e-4), answers)))
    assert losses[1] > losses[0] + 0.01


def test_what_a_block_predicts_is_for_images_outside_it(images, monkeypatch):
    def recorded_prediction(train, target, test, **settings):
        inside = {row.detach().numpy().tobytes() for row in train}
        shared.append(sum(row.numpy().tobytes() in inside for row in test))
        return prediction(train, target, test, **settings)

    shared = []
    monkeypatch.setattr("unlearnable.poisons.ntga.prediction", recorded_prediction)
    POISONS["ntga"](images, Crafting(), linf=EIGHT, step=EIGHT, steps=1, block_size=60)
    assert shared == [0, 0]


def test_ntga_poisons_every_image_whatever_the_block(images):
    for block_size in (50, 500):
        perturbation = POISONS["ntga"](images, Crafting(), linf=EIGHT, step=EIGHT, steps=1, block_size=block_size)
        assert (np.abs(perturbation).max((1, 2, 3)) > 0.9 * EIGHT).all()


# ---- PIL


def test_a_linear_rule_learned_from_clean_images_sees_the_class_in_pil_noise(images):
    """The noise is subtracted, so the rule of the negative perturbation is that of the images."""
    perturbation = POISONS["pil"](images, Crafting(), linf=EIGHT, step=EIGHT / 10, epochs=10, learning_rate=0.01, batch_size=20)
    noise = -perturbation.reshape(120, -1)
    flat = images.images.reshape(120, -1) / 255
    means = np.stack([flat[images.labels == label].mean(0) - flat.mean(0) for label in range(3)])
    assert ((noise @ means.T).argmax(1) == images.labels).mean() > 0.9
    assert np.abs(noise).max() <= EIGHT + 1e-7
