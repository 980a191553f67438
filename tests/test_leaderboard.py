"""The leaderboard is what the committed cells say, with its links, its commands, and what others published."""

import json
import re

import pandas as pd
import pytest
import yaml
from benchmarks.results.data import ABOUT, CELLS
from docsite.leaderboard import RESULTS, leaderboard_pages
from docsite.published import published

from tests.benchmarks.test_results import ABOUT_THEM, rows
from tests.conftest import ROOT
from unlearnable.errors import InputError

LEVELS = {("none", "none"): 0.90, ("lsp", "none"): 0.20, ("lsp", "jpeg"): 0.80, ("lsp", "grayscale"): 0.50, ("ar", "none"): 0.12}


@pytest.fixture
def root(tmp_path):
    """A folder of ours with two seeds, and a submission with one."""
    both = [(*names, seed, value + seed / 100) for seed in (0, 1) for names, value in LEVELS.items()]
    keep(tmp_path / "data" / "ours", rows(*both).assign(model="fast_cnn"), by="the project")
    keep(tmp_path / "submissions" / "theirs", rows(("lsp", "none", 0, 0.3)).assign(model="resnet18"), by="Somebody else")
    return tmp_path


def keep(folder, cells: pd.DataFrame, **about: str) -> None:
    folder.mkdir(parents=True)
    cells.to_parquet(folder / CELLS)
    told = ABOUT_THEM | {"commands": ["kedro study run full --env=cifar10_fast"]} | about
    (folder / ABOUT).write_text(yaml.safe_dump(told).replace("'2026-11-27'", "2026-11-27"))


def lines(text: str, *wanted: str) -> list[str]:
    """Return the rows of tables that hold each of these texts."""
    return [line for line in text.splitlines() if line.startswith("| ") and all(each in line for each in wanted)]


def test_a_cell_has_its_mean_deviation_and_seeds(root):
    """0.20 and 0.21 have the mean 0.205 and the sample's deviation 0.01 / sqrt(2)."""
    pages = leaderboard_pages(root)
    [row] = lines(pages["leaderboard.md"], "`lsp` | [", "ours.md")
    assert "[0.205 ± 0.007 (2)](leaderboard/ours.md#lsp-none-fast_cnn-cifar10)" in row.split(" | ")[1]
    assert row.endswith("| 0.805, jpeg |")
    [row] = lines(pages["leaderboard.md"], "`lsp` | `jpeg` |", "the project")
    assert "| 0.805 ± 0.007 (2) | " in row


def test_one_seed_has_no_deviation_and_a_submission_its_line(root):
    text = leaderboard_pages(root)["leaderboard.md"]
    [row] = lines(text, "Somebody else", "resnet18", "lsp")
    assert "| 0.300 (1) |" in row
    [entry] = lines(text, "(leaderboard/submission-theirs.md)", "Somebody else", "one card", "2026-11-27", "abc")
    assert entry.endswith("| 1 | 0 |")


def test_a_combination_without_a_cell_is_empty(root):
    [row] = lines(leaderboard_pages(root)["leaderboard.md"], "`ar` | [")
    assert row.split(" | ")[2:4] == ["", ""]


def test_every_figure_links_to_its_recipe(root):
    for where in (root, RESULTS):
        pages = leaderboard_pages(where)
        links = re.findall(r"\]\((leaderboard/[\w-]+\.md)#([\w-]+)\)", pages["leaderboard.md"])
        assert len(links) >= 2
        assert [link for link in links if f"{{#{link[1]}}}" not in pages[link[0]]] == []


def test_figures_of_others_are_beside_ours_and_marked(root):
    """APBench's leaderboard has 0.1306 for lsp without a defence, and BridgePure 13.85 ± .96 %."""
    text = leaderboard_pages(root)["leaderboard.md"]
    [row] = lines(text, "`lsp` | `none` |", "the project")
    assert "*APBench 0.131*" in row
    assert "*BridgePure 0.139 ± 0.010*" in row
    assert "differs from APBench and ISS in network, training recipe" in text


def test_a_recovery_with_other_settings_has_no_published_figure_beside_it(root):
    """Peers measured JPEG at quality 10."""
    cells = pd.read_parquet(root / "data" / "ours" / CELLS)
    for quality, beside in ((10, True), (30, False)):
        recipe = json.dumps({"ingest": {"train_size": None}, "train": {"epochs": 5}, "recover": {"jpeg": {"quality": quality}}})
        cells.assign(recipe=recipe).to_parquet(root / "data" / "ours" / CELLS)
        [row] = lines(leaderboard_pages(root)["leaderboard.md"], "`lsp` | `jpeg` |", "the project")
        assert ("*APBench 0.801*" in row) is beside


def test_a_recipe_page_has_command_seeds_and_what_differs(root):
    page = leaderboard_pages(root)["leaderboard/ours.md"]
    section = page.partition("{#lsp-jpeg-fast_cnn-cifar10}")[2].partition("### ")[0]
    assert "    kedro run --pipeline=recover --env=cifar10_fast --params=poison=lsp,recovery=jpeg,model=fast_cnn,seed=0\n" in section
    assert [line.split(" | ")[1] for line in lines(section, "0.8")] == ["0.8000", "0.8100"]
    assert "train.epochs: 5" in page.partition("## Cells")[0]


def test_a_setting_of_one_cell_stands_with_it_alone(root):
    cells = pd.read_parquet(root / "data" / "ours" / CELLS)
    other = json.dumps({"ingest": {"train_size": None}, "train": {"epochs": 50}})
    cells.loc[cells["recovery"] == "grayscale", "recipe"] = other
    cells.to_parquet(root / "data" / "ours" / CELLS)
    page = leaderboard_pages(root)["leaderboard/ours.md"]
    assert "train.epochs: 50" in page.partition("{#lsp-grayscale-fast_cnn-cifar10}")[2].partition("### ")[0]
    assert page.count("train.epochs: 50") == 1


def test_a_wrong_folder_is_one_line(root):
    (root / "submissions" / "theirs" / ABOUT).write_text("title: 3\n")
    with pytest.raises(InputError, match=r"about\.yml: 'title': "):
        leaderboard_pages(root)


def test_no_folder_at_all_is_a_page_too(tmp_path):
    pages = leaderboard_pages(tmp_path)
    assert list(pages) == ["leaderboard.md"]
    assert "### APBench, cifar10" in pages["leaderboard.md"]


def test_committed_commands_name_environments_that_exist():
    shown = [found for text in leaderboard_pages().values() for found in re.findall(r"^    kedro .*--env=(\w+)", text, re.MULTILINE)]
    assert shown
    assert [name for name in shown if not (ROOT / "conf" / name).is_dir()] == []


def test_published_tables_say_what_the_list_of_expected_figures_says():
    """Two transcriptions of BridgePure: one by row, in expected.yml, and the whole tables."""
    datasets = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100"}
    tables = {each.dataset: each.figures for each in published() if each.name == "BridgePure"}
    compared = 0
    for about in yaml.safe_load((RESULTS / "expected.yml").read_text()):
        words = about["name"].split(", ")
        pair = (words[2], "none" if words[3] == "poisoned" else words[3]) if len(words) > 3 else ("", "")
        if about.get("trials") == 5 and pair in tables[datasets[words[0]]]:
            assert tables[datasets[words[0]]][pair] == f"{about['expected']:.3f} ± {about['deviation']:.3f}", about["name"]
            compared += 1
    assert compared == 17
