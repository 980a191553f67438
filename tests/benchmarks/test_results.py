"""Results as data: what a folder of them must hold, and that the page is what its data says."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from benchmarks.results.__main__ import main
from benchmarks.results.collect import _added
from benchmarks.results.columns import columns, curves
from benchmarks.results.data import ABOUT, CELLS, DFR, EPOCHS, SEPARABILITY, folders, read
from benchmarks.results.pages import BEGIN, END, OTHERS, OURS, PAGE, RESULTS, accuracies, gains, peaks, written

from tests.study.findings_example import VERSIONS, cell, few
from unlearnable.errors import InputError
from unlearnable.reporting.tables import summary

RECIPE = json.dumps({"ingest": {"train_size": None}, "train": {"epochs": 5}})
ABOUT_THEM = {
    "title": "Fifty thousand images",
    "by": "Somebody",
    "machine": "one card",
    "measured": "2026-11-27",
    "commit": "abc",
    "commands": ["kedro study run full"],
}


def rows(*found: tuple[str, str, int, float]) -> pd.DataFrame:
    """Return cells of these poisons, recoveries, seeds and accuracies."""
    return pd.DataFrame(
        [
            cell(poison=poison, recovery=recovery, seed=seed, accuracy=value, recipe=RECIPE, made_on="{}")
            for poison, recovery, seed, value in found
        ]
    )


def epochs(poison: str, *accuracies: float) -> pd.DataFrame:
    """Return the epochs of a training without a recovery."""
    key = {"dataset": "cifar10", "poison": poison, "recovery": "none", "override": "", "model": "fast_cnn", "seed": 0}
    return pd.DataFrame(
        [
            {**key, "training": "recovered", "epoch": epoch, "test_accuracy": value, "loss": 1.0}
            for epoch, value in enumerate(accuracies, start=1)
        ]
    )


def page_of(folder) -> tuple[str, dict[str, bytes]]:
    """Return the page of one folder of ours, and its figures."""
    files = written(f"{BEGIN}{END}", folder.parent, folder.parent / "nobody")
    return files.pop("README.md").decode(), files


def change_about(folder, **change) -> None:
    (folder / ABOUT).write_text(yaml.safe_dump(yaml.safe_load((folder / ABOUT).read_text()) | change))


@pytest.fixture
def folder(tmp_path):
    """A folder of results as it should be, of two seeds."""
    (tmp_path / "theirs").mkdir()
    found = [("none", "none", 0.9), ("lsp", "none", 0.2), ("lsp", "jpeg", 0.8)]
    rows(*[(*names, seed, value + seed / 100) for seed in (0, 1) for *names, value in found]).to_parquet(tmp_path / "theirs" / CELLS)
    epochs("lsp", 0.5, 0.3).to_parquet(tmp_path / "theirs" / EPOCHS)
    (tmp_path / "theirs" / ABOUT).write_text(yaml.safe_dump(ABOUT_THEM).replace("'2026-11-27'", "2026-11-27"))
    return tmp_path / "theirs"


def test_the_committed_page_and_figures_are_what_the_committed_data_gives():
    for name, content in written(PAGE.read_text(encoding="utf-8")).items():
        assert (RESULTS / name).read_bytes() == content, f"docs/results/{name}: run make results"


def test_every_committed_folder_is_as_it_should_be():
    for found in [*folders(OURS), *folders(OTHERS)]:
        assert len(read(found).findings.cells)


def test_a_page_has_the_tables_of_its_data(folder):
    files = written(f"before\n{BEGIN}\nan earlier section\n{END}\nafter\n", folder.parent, folder.parent / "nobody")
    text = files.pop("README.md").decode()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "an earlier section" not in text
    assert "| `lsp` | 0.205 ± 0.007 | 0.805 ± 0.007 |" in text
    assert "| gain | `jpeg` |\n| --- | --- |\n| `lsp` | **+0.600** (+0.600 to +0.600; 2 pairs) |" in text
    assert "| `lsp` | 1 of 2 | 0.500 | 0.300 |" in text
    assert sorted(files) == ["figures/theirs-accuracy.svg", "figures/theirs-epochs.svg"]


def test_what_others_measured_stands_under_their_names(folder):
    text = written(f"{BEGIN}{END}", folder.parent / "nobody", folder.parent)["README.md"].decode()
    assert "### Fifty thousand images, by Somebody" in text
    assert "| `none` | 0.905 ± 0.007 |  |" in text


def test_one_seed_has_no_interval():
    table = summary(few(*rows(("lsp", "none", 0, 0.2), ("lsp", "jpeg", 0, 0.7)).to_dict("records")))
    assert gains(table).endswith("| `lsp` | +0.500 |")


def test_a_gain_whose_interval_has_zero_is_no_difference():
    """Gains 0.02 and -0.01: mean 0.005, and Student's 12.7 of one degree of freedom makes any two of them unsure."""
    found = rows(("lsp", "none", 0, 0.2), ("lsp", "jpeg", 0, 0.22), ("lsp", "none", 1, 0.2), ("lsp", "jpeg", 1, 0.19))
    assert gains(summary(few(*found.to_dict("records")))).endswith("| `lsp` | +0.005 (-0.186 to +0.196; 2 pairs) |")


def test_the_table_leaves_empty_what_has_no_cell():
    found = rows(("none", "none", 0, 0.9), ("lsp", "jpeg", 0, 0.8))
    assert accuracies(summary(few(*found.to_dict("records")))).splitlines()[2:] == [
        "| `none` | 0.900 |  |",
        "| `lsp` |  | 0.800 |",
    ]


def test_a_poison_that_wins_late_has_its_peak_early():
    assert peaks(epochs("ops", 0.4, 0.6, 0.1)).splitlines()[2] == "| `ops` | 2 of 3 | 0.600 | 0.100 |"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "{}"}, "recipe: expected a JSON object with 'train' in every row, got '{}'"),
        ({"versions": "none"}, "versions: expected a JSON object with 'torch' in every row, got 'none'"),
        ({"accuracy": 91.2}, "accuracy: expected fractions in \\[0, 1\\], got 91.2"),
        ({"accuracy": float("nan")}, "expected an accuracy in every row, got 6 without"),
        ({"seed": 0}, "expected each once, got this one again"),
    ],
)
def test_wrong_cells_are_one_line(folder, change, message, capsys):
    pd.read_parquet(folder / CELLS).assign(**change).to_parquet(folder / CELLS)
    with pytest.raises(InputError, match=message):
        read(folder)
    assert main(["--check", str(folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_column_and_a_file_that_is_no_table_are_one_line(folder):
    pd.read_parquet(folder / CELLS).drop(columns="seed").to_parquet(folder / CELLS)
    with pytest.raises(InputError, match=r"cells.parquet: expected the columns dataset, .*, got none of seed$"):
        read(folder)
    (folder / CELLS).write_text("no table")
    with pytest.raises(InputError, match=r"cells\.parquet: expected a Parquet table, got"):
        read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"machine": None}, "'machine': .*string"), ({"colour": "red"}, "'colour': Extra inputs"), ({"measured": "soon"}, "'measured': ")],
)
def test_a_wrong_about_is_one_line(folder, change, message):
    change_about(folder, **change)
    with pytest.raises(InputError, match=f"about.yml: {message}"):
        read(folder)


def test_findings_go_first_and_have_the_figures_of_the_tables(folder):
    change_about(folder, findings=["JPEG brings `lsp` back: 0.805, a gain of 0.600.", "It is cheap."])
    text, _ = page_of(folder)
    assert "## Fifty thousand images\n\n- JPEG brings `lsp` back: 0.805, a gain of 0.600.\n- It is cheap.\n\nCells: 6;" in text
    theirs = written(f"{BEGIN}{END}", folder.parent / "nobody", folder.parent)["README.md"].decode()
    assert "by Somebody\n\n- JPEG brings" in theirs


def test_a_finding_whose_figure_no_table_has_is_one_line(folder, capsys):
    change_about(folder, findings=["It leaves 0.205.", "JPEG brings it back to 0.804."])
    assert main(["--check", str(folder)]) == 1
    told = f"{folder / ABOUT}: findings: expected figures from the tables, got 0.804 in 'JPEG brings it back to 0.804.'"
    assert capsys.readouterr().err == f"Error: {told}\n"
    with pytest.raises(InputError, match=r"got 0\.804 in"):
        page_of(folder)


def test_the_command_says_what_is_in_order(folder, capsys):
    assert main(["--check", str(folder)]) == 0
    assert "6 cells, as expected" in capsys.readouterr().out
    shutil.rmtree(folder)
    assert main(["--check", str(folder)]) == 1


def test_versions_of_the_example_name_torch():
    """What the schema asks for is what a study's cells have."""
    assert "torch" in VERSIONS


def overridden(*found: tuple[str, str, float, str]) -> pd.DataFrame:
    """Return cells of ``lsp`` of these recoveries, overrides, accuracies and hashes of recipes."""
    names = ("recovery", "override", "accuracy", "recipe_hash")
    return pd.DataFrame([cell(poison="lsp", recipe=RECIPE, made_on="{}", **dict(zip(names, row, strict=True))) for row in found])


SWEEP = overridden(
    ("none", "published", 0.2, "a"),
    ("pairs", "published", 0.5, "b"),
    *[row for k in (1, 20, 500) for row in (("none", f"{k} pairs", 0.2, "a"), ("pairs", f"{k} pairs", 0.5 + k / 2000 + 1e-6, f"b{k}"))],
    ("none", "strong augmentation", 0.6, "c"),
    ("pairs", "strong augmentation", 0.7, "d"),
)


def test_overrides_that_change_nothing_share_a_column():
    names = columns(SWEEP)
    assert {name for (recovery, _), name in names.items() if recovery == "none"} == {"none", "none, strong augmentation"}
    assert names["none", "20 pairs"] == "none"
    assert names["pairs", "20 pairs"] == "20 pairs", "that no other recovery can have"
    more = columns(pd.concat([SWEEP, SWEEP.assign(recovery="coin")]))
    assert more["pairs", "20 pairs"] == "pairs, 20 pairs"
    assert columns(SWEEP[SWEEP["recovery"] == "none"])["none", "strong augmentation"] == "strong augmentation"


def test_overrides_that_differ_in_a_number_are_a_curve():
    assert curves(columns(SWEEP)) == {"pairs": {"1 pairs": 1, "20 pairs": 20, "500 pairs": 500}}
    assert curves({("none", name): name for name in ("1 epoch", "5 epochs", "60 epochs of 70", "a", "1,000 epochs")}) == {
        "epochs": {"1 epoch": 1, "5 epochs": 5, "1,000 epochs": 1000}
    }
    assert curves({("none", name): name for name in ("1 epoch", "5 epochs")}) == {}


def test_a_page_of_overrides_has_a_line_for_each_and_gains_over_its_own_control(folder):
    (folder / EPOCHS).unlink()
    SWEEP.to_parquet(folder / CELLS)
    text, files = page_of(folder)
    told = {
        "none": 0.2,
        "published": 0.5,
        "1 pairs": 0.501,
        "20 pairs": 0.51,
        "500 pairs": 0.75,
        "none, strong augmentation": 0.6,
        "strong augmentation": 0.7,
    }
    lines = [f"| `{name}` | {value:.3f} |" for name, value in told.items()]
    assert "\n".join(["| recovery | `lsp` |", "| --- | --- |", *lines]) in text
    gains = {"published": "+0.300", "1 pairs": "+0.301", "20 pairs": "+0.310", "500 pairs": "+0.550", "strong augmentation": "+0.100"}
    assert "\n".join(["| gain | `lsp` |", "| --- | --- |", *(f"| `{name}` | {value} |" for name, value in gains.items())]) in text
    assert "![accuracy by pairs](figures/theirs-pairs.svg)" in text
    assert list(files) == ["figures/theirs-pairs.svg"]


def heads(*found: tuple[int, int, float]) -> pd.DataFrame:
    """Return what new heads reached on ``lsp``, by epoch and number of clean samples, of two seeds 0.02 apart."""
    key = {"dataset": "cifar10", "poison": "lsp", "override": "", "model": "fast_cnn", "estimator": "frozen", "made_on": "{}"}
    rows = [(epoch, samples, seed, value + seed / 50) for epoch, samples, value in found for seed in (0, 1)]
    names = ("epoch", "clean_samples", "seed", "test_accuracy")
    return pd.DataFrame([key | dict(zip(names, row, strict=True)) | {"plain_accuracy": row[0] / 10} for row in rows])


def test_overrides_without_a_recovery_are_compared_with_the_first_one(folder):
    found = [
        cell(
            poison="lsp",
            recovery="none",
            seed=seed,
            override=name,
            accuracy=value + seed / 10,
            recipe_hash=name,
            recipe=RECIPE,
            made_on="{}",
        )
        for name, value in (("random weights", 0.3), ("another rate", 0.3), ("pretrained", 0.5))
        for seed in (0, 1)
    ]
    pd.DataFrame(found).to_parquet(folder / CELLS)
    text, _ = page_of(folder)
    assert "Gains over `random weights`, paired by seed." in text
    assert "| gain | `another rate` | `pretrained` |\n| --- | --- | --- |\n| `lsp` | +0.000" in text
    assert "| **+0.200** (+0.200 to +0.200; 2 pairs) |" in text


def test_figures_of_too_many_columns_are_left_out(folder):
    rows(("lsp", "none", 0, 0.2), *((("lsp", f"recovery {number}", 0, 0.5)) for number in range(10))).to_parquet(folder / CELLS)
    text, files = page_of(folder)
    assert "| `recovery 9` | 0.500 |" in text
    assert files == {}
    assert "![" not in text
    assert "| `lsp` | 1 of 2 | 0.500 | 0.300 |" in text, "the tables stay"


def test_a_map_of_one_row_is_left_out(folder):
    given = [("lsp", "none", 0, 0.2), ("lsp", "jpeg", 0, 0.5)]
    rows(*given).to_parquet(folder / CELLS)
    assert "figures/theirs-accuracy.svg" not in page_of(folder)[1]
    rows(*given, ("ops", "none", 0, 0.2), ("ops", "jpeg", 0, 0.5)).to_parquet(folder / CELLS)
    assert "figures/theirs-accuracy.svg" in page_of(folder)[1]


def test_new_heads_have_a_table_with_the_untrained_network_and_a_figure(folder):
    heads((0, 5000, 0.3), (1, 5000, 0.6), (2, 5000, 0.5)).to_parquet(folder / DFR)
    text, files = page_of(folder)
    table = "| trained on | own head | frozen, 5,000 samples |\n| --- | --- | --- |\n| nothing | 0.000 | 0.310 |\n| `lsp` | "
    assert f"{table}0.200 ± 0.000 | 0.510 ± 0.014 |" in text
    assert f"{table}0.200 (2) | 0.610 (1) |" in text
    assert "figures/theirs-dfr.svg" in files
    assert "figures/theirs-samples.svg" not in files


def test_new_heads_of_several_numbers_of_samples_have_a_curve(folder):
    heads(*[(epoch, samples, 0.4) for epoch in (0, 1) for samples in (500, 15_000)]).to_parquet(folder / DFR)
    _, files = page_of(folder)
    assert b"15k" in files["figures/theirs-samples.svg"]
    assert b"500 samples" in files["figures/theirs-dfr.svg"], "the number nearest to 5,000 alone"
    assert b"15,000 samples" not in files["figures/theirs-dfr.svg"]


def fits(*found: tuple[str, str, str, float]) -> pd.DataFrame:
    """Return what models were fitted to perturbations of a poison, or to clean images, and their training accuracy; half of it held out."""
    names = ("poison", "subject", "fit", "train_accuracy")
    return pd.DataFrame(found, columns=names).assign(
        dataset="cifar10", override="", held_out_accuracy=lambda rows: rows["train_accuracy"] / 2
    )


def test_separability_stands_beside_what_training_leaves(folder):
    found = [("lsp", "perturbations", "linear", 0.99), ("lsp", "clean", "linear", 0.4), ("lsp", "perturbations", "hidden 30", 1.0)]
    fits(*found, ("none", "perturbations", "linear", 0.1)).to_parquet(folder / SEPARABILITY)
    text, files = page_of(folder)
    assert "| `none` |  |  | 0.905 |" in text, "clean images have no perturbations"
    assert "| `lsp` | 0.990 | 0.495 | 0.205 |" in text
    assert "correlation" not in text
    assert "figures/theirs-separability.svg" in files


def test_separability_is_correlated_with_what_training_leaves(folder):
    """Ranks 1 2 3 4 5 and 2 1 4 3 5: Spearman's coefficient is 1 - 6 * 4 / (5 * 24) = 0.8."""
    names = "abcde"
    rows(*[(name, "none", 0, value) for name, value in zip(names, (0.2, 0.1, 0.4, 0.3, 0.5), strict=True)]).to_parquet(folder / CELLS)
    fits(*[(name, "perturbations", "linear", 0.5 + place / 10) for place, name in enumerate(names)]).to_parquet(folder / SEPARABILITY)
    text, _ = page_of(folder)
    assert "Spearman's rank correlation with the last column, 5 poisons: +0.800, and +0.800 on held-out perturbations." in text


def test_what_is_collected_later_replaces_the_same_cells_alone(tmp_path):
    before, later = rows(("lsp", "none", 0, 0.2), ("lsp", "jpeg", 0, 0.7)), rows(("lsp", "jpeg", 0, 0.8), ("lsp", "jpeg", 1, 0.6))
    assert _added(tmp_path / CELLS, before).equals(before)
    before.to_parquet(tmp_path / CELLS)
    found = _added(tmp_path / CELLS, later)
    assert found[["recovery", "seed", "accuracy"]].to_numpy().tolist() == [["none", 0, 0.2], ["jpeg", 0, 0.8], ["jpeg", 1, 0.6]]


def test_seeds_of_different_recipes_are_one_line(folder):
    cells = pd.read_parquet(folder / CELLS)
    changed = cells["recipe"].where(cells["seed"] == 0, json.dumps({"ingest": {"train_size": None}, "train": {"epochs": 9}, "seed": 1}))
    cells.assign(recipe=changed).to_parquet(folder / CELLS)
    with pytest.raises(InputError, match=r"cells\.parquet: recipe: expected one for all seeds of cifar10, lsp, jpeg, resnet18, got 2$"):
        read(folder)
