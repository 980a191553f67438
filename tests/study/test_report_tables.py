"""The numbers of a study, against ones computed by hand."""

import json

import pandas as pd
import pytest

from tests.study.findings_example import cell, example, few, nothing
from unlearnable.errors import InputError
from unlearnable.reporting import rows
from unlearnable.reporting.peers import comparisons, published
from unlearnable.reporting.recipes import ABSENT, common, difference, flat
from unlearnable.reporting.tables import curves, fits, heads, summary, times

THREE = (("none", 0, 0.2), ("none", 1, 0.3), ("none", 2, 0.1), ("jpeg", 0, 0.6), ("jpeg", 1, 0.9))


def three_and_two(**changes):
    """lsp without a recovery on three seeds, with jpeg on two of them."""
    return few(*[cell(poison="lsp", recovery=recovery, seed=seed, accuracy=accuracy) for recovery, seed, accuracy in THREE], **changes)


def row_of(table, **names):
    for name, value in names.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_mean_and_the_samples_deviation_are_over_seeds():
    row = row_of(summary(three_and_two()), recovery="none")
    assert (row["n"], row["mean"], row["sd"]) == (3, pytest.approx(0.2), pytest.approx(0.1))


def test_a_gain_is_the_mean_over_pairs_of_one_seed():
    row = row_of(summary(three_and_two()), recovery="jpeg")
    assert row["gain"] == pytest.approx((0.4 + 0.6) / 2)  # and not 0.75 less the 0.2 of all three
    assert row["gain_sd"] == pytest.approx(0.02**0.5)
    assert row["pairs"] == 2


def test_what_is_not_finished_stands_among_the_combinations_with_no_seeds():
    lost = nothing("unfinished").reindex([0]).assign(**cell(poison="ops", recovery="jpeg"), state="failed", error="no")
    table = summary(three_and_two(unfinished=lost))
    assert len(table) == 4
    assert row_of(table, poison="ops", recovery="none")["n"] == 0


def test_controls_come_first():
    assert list(summary(example())[["poison", "recovery"]].iloc[0]) == ["none", "none"]


def test_times_are_relative_to_the_same_poison_and_seed():
    found = few(
        cell(recovery="none", seconds_recovery=None, seconds_training=10.0),
        cell(recovery="none", seed=1, seconds_recovery=None, seconds_training=20.0),
        cell(recovery="jpeg", seconds_recovery=5.0, seconds_training=20.0),
        cell(recovery="jpeg", seed=1, seconds_recovery=5.0, seconds_training=20.0),
        cell(recovery="jpeg", seed=2, seconds_recovery=5.0, seconds_training=20.0),  # has no control
    )
    row = row_of(times(found), recovery="jpeg")
    assert (row["training"], row["recovering"]) == (pytest.approx((2 + 1) / 2), pytest.approx((0.5 + 0.25) / 2))
    assert (row["seconds"], row["n"]) == (25.0, 2)


def dfr(**changes):
    row = {"dataset": "digits", "override": "", "poison": "lsp", "model": "m", "seed": 0, "estimator": "frozen", "clean_samples": 1000}
    return row | {"epoch": 0, "test_accuracy": 0.2, "plain_accuracy": 0.1} | changes


def test_curves_are_means_over_seeds_and_the_own_head_counts_once_a_seed():
    table = pd.DataFrame(
        [
            dfr(seed=seed, estimator=name, test_accuracy=0.2 + seed, plain_accuracy=0.1 + seed / 2)
            for seed in (0, 0.4)
            for name in ("a", "b")
        ]
    )
    found = curves(table)
    own, new = row_of(found, head="own head"), row_of(found, head="a, 1,000")
    assert (own["n"], own["mean"]) == (2, pytest.approx(0.2))
    assert (new["n"], new["mean"], new["sd"]) == (2, pytest.approx(0.4), pytest.approx(0.08**0.5))


def test_curves_of_two_datasets_are_not_averaged():
    found = curves(pd.DataFrame([dfr(), dfr(dataset="svhn", test_accuracy=0.8)]))
    assert sorted(found.loc[found["head"] == "frozen, 1,000", "mean"]) == [0.2, 0.8]


def test_a_head_has_its_control_and_its_last_epoch():
    found = heads(curves(pd.DataFrame([dfr(epoch=2, test_accuracy=0.7), dfr(), dfr(epoch=1, test_accuracy=0.9)])))
    row = row_of(found, head="frozen, 1,000")
    assert (row["control"], row["mean"]) == (0.2, 0.7)


def test_fits_are_means_and_clean_images_are_one_subject():
    fit = {"dataset": "digits", "override": "", "fit": "linear", "train_accuracy": 1.0}
    found = fits(
        pd.DataFrame(
            [
                fit | {"poison": "lsp", "subject": "perturbations", "held_out_accuracy": 0.9},
                fit | {"poison": "lsp", "subject": "clean", "held_out_accuracy": 0.4},
                fit | {"poison": "ops", "subject": "clean", "held_out_accuracy": 0.6},
            ]
        )
    )
    assert list(found["subject"]) == ["clean images", "lsp"]
    assert list(found["held_out_accuracy"]) == [pytest.approx(0.5), 0.9]


def test_a_recipe_is_what_it_has_otherwise():
    usual = common([flat('{"a": {"b": 1}, "c": 2}'), flat('{"a": {"b": 1}}'), flat('{"a": {"b": 3}, "c": 2}')])
    assert usual == {"a.b": "1", "c": "2"}
    assert difference(flat('{"a": {"b": 3}}'), usual) == {"a.b": "3", "c": ABSENT}
    assert difference(usual, usual) == {}
    assert common([{"a": "1"}, {}, {}]) == {}  # few have it


def test_an_absent_value_is_told_from_a_text_of_that_name():
    assert difference({}, flat('{"a": "absent"}')) != difference(flat('{"a": "absent"}'), {"a": "1"})


# ---- peers


def trained(*, epochs=60, pretraining=None, **augmentation):
    """Return the recipe of a training on all images, with the peers' crop and flip but for what is given."""
    recipe = {"epochs": epochs, "pretraining": pretraining, "augmentation": {"crop": 4, "flip": True, "cutmix": 0.0} | augmentation}
    return json.dumps({"ingest": {"train_size": None}, "train": recipe})


def compared(**changes):
    findings = few(*[cell(poison="lsp", recovery=recovery, **changes) for recovery in ("none", "jpeg", "bdr", "gaussian_blur")])
    return comparisons(findings, summary(findings))


def test_peers_stand_beside_ours_where_dataset_images_and_network_agree():
    assert compared(recipe=trained())[0].differences == []
    (found,) = compared()
    assert found.differences == []
    table = rows.beside_peers(found, 0)
    jpeg = next(row for row in table.rows if row[1].text == "jpeg")
    assert [entry.text for entry in jpeg] == ["lsp", "jpeg", "80.0%", "1", "80.1%", "83.0%"]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"dataset": "svhn"}, "dataset"),
        ({"model": "small_cnn"}, "network"),
        ({"recipe": json.dumps({"ingest": {"train_size": 10_000}})}, "number of images"),
        ({"recipe": "{}"}, "number of images"),  # it does not say how many
        ({"recipe": trained(cutmix=0.5)}, "training recipe"),
        ({"recipe": trained(crop=0)}, "training recipe"),
        ({"recipe": trained(epochs=50)}, "training recipe"),
        ({"recipe": trained(pretraining="simclr")}, "training recipe"),
    ],
)
def test_each_setting_of_the_peers_is_asked_for(changes, difference):
    assert difference in compared(**changes)[0].differences


def test_a_recovery_that_is_not_the_peers_is_not_laid_beside_theirs():
    assert list(compared()[0].rows["recovery"]) == ["none", "jpeg"]  # their blur and bit depth are others
    weaker = json.dumps({"ingest": {"train_size": None}, "recover": {"jpeg": {"quality": 50}}})
    assert list(compared(recipe=weaker)[0].rows["recovery"]) == ["none"]


def test_published_figures_are_fractions_of_two_peers_that_agree_where_they_say_so():
    apbench, iss = (peer["accuracy"] for peer in published()["peers"])
    assert all(0 < value < 1 for peer in (apbench, iss) for row in peer.values() for value in row.values())
    assert apbench["ar"]["jpeg"] == pytest.approx(iss["ar"]["jpeg"], abs=0.03)
    assert apbench["ops"]["none"] < iss["ops"]["none"] - 0.2  # and here they do not


# ---- what is refused


def test_a_table_without_a_column_is_refused():
    with pytest.raises(InputError, match=r"cells of a study: expected the columns .* got none of accuracy"):
        few({name: value for name, value in cell().items() if name != "accuracy"})


def test_percentages_are_refused():
    with pytest.raises(InputError, match=r"accuracy: expected fractions in \[0, 1\], got 78.0"):
        few(cell(accuracy=78.0))


def test_a_cell_that_is_there_twice_is_refused():
    with pytest.raises(InputError, match="expected each once, got this one again: cifar10, none, none"):
        few(cell(), cell(accuracy=0.1))
    assert len(few(cell(), cell(override="quality 50")).cells) == 2


def test_what_is_not_known_is_no_text():
    row = few(cell(run_url=None, commit=float("nan"), threads=2)).cells.iloc[0]
    assert (row["run_url"], row["commit"], row["threads"]) == ("", "", "2")


def test_a_probe_that_is_not_finished_is_no_cell_of_the_accuracies():
    lost = nothing("unfinished").reindex([0]).assign(**cell(poison="tap"), chain="dfr", state="failed", error="no")
    assert set(summary(few(cell(poison="lsp"), unfinished=lost))["poison"]) == {"lsp"}
