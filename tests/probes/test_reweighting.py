"""Deep feature reweighting: which images it takes, what each estimator changes, and what it finds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, channel_statistics
from unlearnable.models import build
from unlearnable.probes import ESTIMATORS, ReweightingRecipe, fitted_head, reweight
from unlearnable.probes.reweighting import Bench, _with_head, fitted_and_held_out
from unlearnable.training import Augmentation, Checkpoint, Network, TrainingRecipe, fit_named
from unlearnable.training import device as devices
from unlearnable.training.pixels import resident

CPU = torch.device("cpu")
TRAINING = TrainingRecipe(
    epochs=3, batch_size=20, learning_rate=0.05, precision="float32", augmentation=Augmentation(crop=1, brightness=0.1)
)
RECIPE = ReweightingRecipe(clean_samples=120, held_out=40, estimators=["frozen", "recalibrated"])
ALL = replace(RECIPE, clean_samples=60, estimators=list(ESTIMATORS), epochs=[3])  # the third runs the whole network 20 times a step
NORMS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def sets() -> tuple[LabelledImages, LabelledImages]:
    return make_images(200, classes=4), make_images(100, classes=4, seed=9)


@pytest.fixture(scope="module")
def checkpoints(sets) -> list[Checkpoint]:
    """Of a training with labels that mean other classes: its features are good and its head is all wrong."""
    clean, test = sets
    renamed = replace(clean, labels=(clean.labels + 1) % 4)
    return list(fit_named("tiny_cnn", renamed, test, like=clean, recipe=TRAINING, seed=3, device="cpu"))


def ask(checkpoints, sets, **settings):
    recipe = {"model": "tiny_cnn", "training": TRAINING, "recipe": RECIPE, "seed": 3, "device": CPU} | settings
    return reweight(checkpoints, *sets, **recipe)


def test_a_new_head_brings_out_what_the_own_head_hides(checkpoints, sets):
    rows = ask(checkpoints, sets, recipe=ALL)
    assert {row["epoch"] for row in rows} == {0, 3}
    for name in ESTIMATORS:
        last = next(row for row in rows if (row["epoch"], row["estimator"]) == (3, name))
        assert last["plain_accuracy"] < 0.2
        assert last["test_accuracy"] > 0.9, name
        assert last["held_out_accuracy"] > 0.9
        assert last["train_accuracy"] > 0.9
        assert (last["clean_samples"], last["held_out_samples"]) == (60, 40)


def test_images_that_would_fill_the_card_stay_on_the_host_and_are_asked_the_same(checkpoints, sets, monkeypatch):
    def asked():
        rows = ask(checkpoints[-1:], sets, recipe=replace(RECIPE, estimators=["frozen", "recalibrated"]))
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    there = asked()
    monkeypatch.setattr(devices, "has_room", lambda device, size: False)
    assert asked() == there


def test_shuffled_clean_labels_bring_out_nothing(checkpoints, sets):
    """The twin of the test above."""
    clean, test = sets
    shuffled = replace(clean, labels=np.random.default_rng(0).permutation(clean.labels))
    assert all(row["test_accuracy"] < 0.6 for row in ask(checkpoints, (shuffled, test)))


def test_the_control_is_the_network_before_its_first_step(checkpoints, sets):
    rows = ask([], sets)
    assert {row["epoch"] for row in rows} == {0}
    same = [row for row in ask(checkpoints, sets) if row["epoch"] == 0]
    assert [measured(row) for row in rows] == [measured(row) for row in same]
    assert [measured(row) for row in rows] != [measured(row) for row in ask([], sets, seed=4)]


def measured(row):
    return {name: value for name, value in row.items() if name != "seconds"}


def test_it_is_reproducible(checkpoints, sets, global_generators_untouched):
    few = replace(ALL, clean_samples=8, epochs=[1])
    one, other = ([measured(row) for row in ask(checkpoints, sets, recipe=few)] for _ in range(2))
    assert one == other


def test_frozen_is_scikit_learns_fit_to_the_features(checkpoints, sets):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    clean, test = sets
    network = bench_of(checkpoints[-1], sets).network
    fitted, _ = fitted_and_held_out(clean, RECIPE)
    features, tested = (network.features(resident(images, CPU)).numpy() for images in (fitted, test))
    scaler = StandardScaler().fit(features)
    head = LogisticRegression(C=1 / (RECIPE.l2 * len(features)), tol=1e-6, max_iter=1000).fit(scaler.transform(features), fitted.labels)
    rows = ask(checkpoints, sets, recipe=replace(RECIPE, estimators=["frozen"]))
    assert rows[-1]["test_accuracy"] == pytest.approx(head.score(scaler.transform(tested), test.labels), abs=0.011)
    assert rows[-1]["train_accuracy"] == pytest.approx(head.score(scaler.transform(features), fitted.labels), abs=0.011)


def test_a_head_does_not_depend_on_the_scale_of_features(checkpoints, sets):
    bench, generator = bench_of(checkpoints[-1], sets), torch.Generator().manual_seed(0)
    parts = torch.randn(3, 120, 6, generator=generator)
    parts[0, :, 0] += bench.labels
    one = _with_head(bench, parts[0], bench.labels, parts[1], parts[2])
    moved = parts * torch.logspace(-2, 2, 6) + torch.arange(6)
    other = _with_head(bench, moved[0], bench.labels, moved[1], moved[2])
    for logits, others in zip(one, other, strict=True):
        assert torch.allclose(logits, others, atol=1e-2)


def test_a_head_for_features_as_they_are_is_the_same_head():
    """Far means, unlike scales and a constant feature among them."""
    features = torch.randn(120, 6, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 2, 6) + 5
    features[:, 3] = 7.0
    labels = torch.arange(120) % 4
    features[:, 0] += labels
    head = fitted_head(features, labels, num_classes=4, l2=0.01)
    logits = torch.nn.functional.linear(features, *head.linear())
    assert torch.allclose(logits, head.logits(features), atol=1e-3)
    assert (head.logits(features).argmax(1) == labels).float().mean() > 0.9


def bench_of(checkpoint: Checkpoint, sets) -> Bench:
    clean, test = sets
    model = build("tiny_cnn", shape=(3, 32, 32), num_classes=4, seed=0)
    model.load_state_dict(checkpoint.state)
    fitted, held_out = fitted_and_held_out(clean, RECIPE)
    return Bench(
        network=Network(model, channel_statistics(clean), CPU, "float32"),
        pixels=resident(fitted, CPU),
        labels=torch.from_numpy(fitted.labels),
        held_out=resident(held_out, CPU),
        test=resident(test, CPU),
        augmentation=TRAINING.augmentation,
        recipe=RECIPE,
        seed=5,
    )


@pytest.mark.parametrize(
    ("name", "may_change"), [("frozen", ()), ("recalibrated", NORMS), ("reference", (*NORMS, "head.weight", "head.bias"))]
)
def test_an_estimator_changes_what_it_says_and_nothing_else(name, may_change, checkpoints, sets):
    bench = replace(bench_of(checkpoints[-1], sets), recipe=replace(RECIPE, clean_samples=20))
    before = {key: value.clone() for key, value in bench.network.model.state_dict().items()}
    momenta = [module.momentum for module in bench.network.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    list(ESTIMATORS[name](bench))
    changed = {key for key, value in bench.network.model.state_dict().items() if not torch.equal(value, before[key])}
    assert {key for key in changed if not key.endswith(may_change)} == set() if may_change else changed == set()
    assert {any(key.endswith(end) for key in changed) for end in may_change} <= {True}
    after = [module.momentum for module in bench.network.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert momenta == after


def test_recalibrated_normalises_by_the_clean_views(checkpoints, sets):
    bench = bench_of(checkpoints[-1], sets)
    bench = replace(bench, augmentation=Augmentation(), recipe=replace(RECIPE, views=1))
    [first, *_] = [module for module in bench.network.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    first.running_mean.fill_(99.0)
    list(ESTIMATORS["recalibrated"](bench))
    convolution = bench.network.model.extractor[0][0]
    mean, deviation = channel_statistics(sets[0])
    images = (bench.pixels.float() / 255 - torch.from_numpy(mean).view(1, -1, 1, 1)) / torch.from_numpy(deviation).view(1, -1, 1, 1)
    assert torch.allclose(first.running_mean, convolution(images.float()).mean((0, 2, 3)), atol=1e-4)


def test_a_list_of_counts_gives_a_curve_of_nested_samples(checkpoints, sets):
    recipe = replace(RECIPE, clean_samples=[120, 20, 60, 60], epochs=[3])
    rows = ask(checkpoints, sets, recipe=recipe)
    assert [(row["epoch"], row["clean_samples"]) for row in rows if row["estimator"] == "frozen"] == [
        (epoch, count) for epoch in (0, 3) for count in (20, 60, 120)
    ]
    for count in (20, 120):
        alone = ask(checkpoints, sets, recipe=replace(RECIPE, clean_samples=count, estimators=["frozen"], epochs=[3]))
        many = [row for row in rows if row["estimator"] == "frozen" and row["clean_samples"] == count]
        assert [row["test_accuracy"] for row in many] == [row["test_accuracy"] for row in alone]


@pytest.mark.parametrize(("name", "views"), [("frozen", 1), ("recalibrated", 2), ("reference", 1)])
def test_a_head_is_fitted_to_the_first_samples_alone(name, views, checkpoints, sets):
    bench = replace(bench_of(checkpoints[-1], sets), recipe=replace(RECIPE, clean_samples=[8, 20], views=2))
    of_both = dict(ESTIMATORS[name](bench))
    assert {count: len(fitted) for count, (fitted, _, _) in of_both.items()} == {8: views * 8, 20: views * 20}
    few = replace(bench_of(checkpoints[-1], sets), recipe=replace(RECIPE, clean_samples=8, views=2))
    [(_, alone)] = ESTIMATORS[name](few)
    assert torch.equal(of_both[8][2], alone[2])


def test_samples_may_be_named_by_a_file(sets, tmp_path):
    clean = sets[0].subset(np.arange(len(sets[0]))[::-1])  # indices are of the images, wherever these stand
    named = clean.ids[[7, 6, 5, 4, 11, 2, 1, 0]]
    np.save(tmp_path / "named.npy", named)
    recipe = ReweightingRecipe(clean_samples=[4, 6], held_out=20, sample_indices=str(tmp_path / "named.npy"))
    fitted, held_out = fitted_and_held_out(clean, recipe)
    assert fitted.ids.tolist() == named[:6].tolist()
    assert len(held_out) == 20
    assert not np.isin(held_out.ids, fitted.ids).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(3), "expected at least 6 indices, as probe.clean_samples asks for, got 3"),
        (np.array([1, 1, 2, 3, 4, 5, 6]), r"expected different whole numbers in a row, got int64 \(7,\)"),
        (np.arange(8) / 2, r"expected different whole numbers in a row, got float64 \(8,\)"),
        (np.arange(8) + 10**6, "expected indices of training images, got 1000000 and 7 more that are none"),
    ],
)
def test_a_file_that_names_no_samples_is_one_line(values, message, sets, tmp_path):
    np.save(tmp_path / "named.npy", values)
    recipe = ReweightingRecipe(clean_samples=6, held_out=20, sample_indices=str(tmp_path / "named.npy"))
    with pytest.raises(InputError, match=rf"^probe\.sample_indices \(.*named\.npy\): {message}$"):
        fitted_and_held_out(sets[0], recipe)


@pytest.mark.parametrize("sampling", ["balanced", "uniform"])
def test_samples_are_seeded_and_never_held_out(sampling, sets):
    clean, _ = sets
    recipe = replace(RECIPE, sampling=sampling, clean_samples=[40, 102])
    fitted, held_out = fitted_and_held_out(clean, recipe)
    assert (len(fitted), len(held_out)) == (102, 40)
    assert not set(fitted.ids) & set(held_out.ids)
    assert np.array_equal(fitted_and_held_out(clean, recipe)[0].ids, fitted.ids)
    assert not np.array_equal(fitted_and_held_out(clean, replace(recipe, sample_seed=1))[0].ids, fitted.ids)
    counts = np.bincount(fitted.labels)
    assert (counts.max() - counts.min() <= 1) == (sampling == "balanced")


def test_an_order_that_is_sorted_by_class_still_gives_every_class(sets):
    clean, _ = sets
    by_class = clean.subset(np.argsort(clean.labels, kind="stable"))
    fitted, _ = fitted_and_held_out(by_class, replace(RECIPE, clean_samples=8))
    assert list(np.bincount(fitted.labels)) == [2, 2, 2, 2]


class OneAtATime(Sequence):
    """Checkpoints of which each is read from a store when it is asked for; it counts how often."""

    def __init__(self, checkpoints):
        self._checkpoints, self.read = checkpoints, []

    def __len__(self):
        return len(self._checkpoints)

    def __getitem__(self, place):
        self.read.append(place)
        return self._checkpoints[place]


@pytest.mark.parametrize(("epochs", "read"), [(None, [0, 1, 2]), ([3, 1, 1], [0, 2])])
def test_each_checkpoint_is_read_once_when_its_turn_comes(epochs, read, checkpoints, sets):
    store, seen = OneAtATime(checkpoints), []
    recipe = replace(RECIPE, estimators=["frozen"], epochs=epochs)
    ask(store, sets, recipe=recipe, report=lambda epoch, measured: seen.append((epoch, list(store.read))))
    assert store.read == read
    assert seen == [(0, []), *((place + 1, read[: at + 1]) for at, place in enumerate(read))]


def test_each_estimator_is_given_each_checkpoint_with_its_own_weights(checkpoints, sets, monkeypatch):
    states, ask_it = [], ESTIMATORS["recalibrated"]

    def noted(bench):
        states.append({name: value.clone() for name, value in bench.network.model.state_dict().items()})
        yield from ask_it(bench)

    for name in ("frozen", "recalibrated"):
        monkeypatch.setitem(ESTIMATORS._known, name, noted)
    ask(checkpoints, sets)
    for place, state in enumerate(states[2:]):  # behind those of the control
        assert all(torch.equal(value, state[name]) for name, value in checkpoints[place // 2].state.items())
    assert len(states) == 2 * (1 + len(checkpoints))


def test_it_reports_each_epoch_and_counts_up_to_the_end(checkpoints, sets):
    told, steps = {}, []
    ask(checkpoints, sets, report=told.__setitem__, progress=lambda done, total: steps.append((done, total)))
    assert list(told) == [0, 1, 2, 3]
    assert {"plain_accuracy", "frozen.120.test_accuracy", "recalibrated.120.held_out_accuracy"} <= set(told[2])
    assert steps == [(done, 4) for done in range(5)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clean_samples": 161}, "probe.clean_samples: expected at most 160, as 40 of 200 training images are held out, got 161"),
        ({"clean_samples": [3, 50]}, "probe.clean_samples: expected images of each of the 4 classes, got none of class . among 3"),
        ({"epochs": [2, 4]}, "probe.epochs: expected at most 3, the epochs of the training, got 4"),
        ({"estimators": ["forzen"]}, r"unknown estimator 'forzen'; known: frozen, recalibrated, reference \(did you mean 'frozen'\?\)"),
    ],
)
def test_a_wrong_setting_is_one_line(settings, message, checkpoints, sets):
    with pytest.raises(InputError, match=f"^{message}$"):
        ask(checkpoints, sets, recipe=replace(RECIPE, **settings))


def test_an_empty_class_is_named(checkpoints, sets):
    clean, test = sets
    with pytest.raises(InputError, match="expected images of each of the 4 classes, got none of class 2 among 120"):
        ask(checkpoints, (clean.subset(np.flatnonzero(clean.labels != 2).repeat(1)), test), recipe=replace(RECIPE, held_out=1))


def test_a_checkpoint_of_another_network_is_named(checkpoints, sets):
    state = build("resnet18", shape=(3, 32, 32), num_classes=4, seed=0).state_dict()
    wrong = [checkpoints[0], replace(checkpoints[1], state=state), checkpoints[2]]
    with pytest.raises(InputError, match="checkpoint of epoch 2: expected the weights of 'tiny_cnn', got others: Missing key") as error:
        ask(wrong, sets)
    assert "\n" not in str(error.value)
