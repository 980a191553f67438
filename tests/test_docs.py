"""What the documents say can be done: links lead somewhere, commands are known, entries are whole, names are described."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from unlearnable.cli import run
from unlearnable.config.entries import require_keys
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.validation import check
from unlearnable.models import MODELS
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.recoveries import RECOVERIES
from unlearnable.settings import CONFIG_LOADER_ARGS

GUIDES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("README", "running", "methods", "datasets")),
]
LARGEST_README = 6_000  # bytes: a screen and a half


def blocks(kind: str) -> list[str]:
    """Return the code blocks of that kind in all guides."""
    return [found for guide in GUIDES for found in re.findall(rf"```{kind}\n(.*?)```", guide.read_text(), re.DOTALL)]


def commands(program: str) -> list[list[str]]:
    """Return the arguments of each command of that program."""
    lines = (shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines())
    return [words[1:] for words in lines if words[:1] == [program]]


def anchors(page: Path) -> set[str]:
    """Return what links may name in a page, as GitHub makes it of headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_a_screen_and_a_half():
    assert len((ROOT / "README.md").read_bytes()) <= LARGEST_README


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_links_lead_somewhere(guide):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", guide.read_text()) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        page = (guide.parent / path).resolve() if path else guide
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


def test_make_knows_what_is_asked_of_it():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {words[0] for words in commands("make")} | {
        found for guide in GUIDES for found in re.findall(r"`make ([\w-]+)`", guide.read_text())
    }
    assert {"demo", "test", "help"} <= asked <= targets


@pytest.mark.parametrize("words", [words for words in commands("kedro") if words[0] == "run"], ids=" ".join)
def test_a_run_that_is_shown_would_start(words):
    """Its pipeline is there, and its parameters are those of its environment."""
    given = run.make_context("run", words[1:]).params
    loader = RecipeConfigLoader(str(ROOT / "conf"), env=given["env"] or "local", runtime_params=given["params"], **CONFIG_LOADER_ARGS)
    assert (given["pipeline"] or "__default__") in register_pipelines()
    check(loader["parameters"])


def test_studies_that_are_shown_are_there():
    shown = [words for words in commands("kedro") if words[0] == "study"]
    assert shown
    for _, _, name, *options in shown:
        env = next(option.removeprefix("--env=") for option in options if option.startswith("--env="))
        assert (ROOT / "conf" / env / "study" / f"{name}.yml").is_file()


def test_entries_that_are_shown_are_whole():
    entries = [yaml.safe_load(block) for block in blocks("yaml")]
    assert len(entries) == 2
    for entry in entries:
        require_keys(entry)


def test_every_recovery_and_network_is_described():
    text = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in (*RECOVERIES, *MODELS) if f"`{name}`" not in text] == []
