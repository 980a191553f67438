"""What the documents say can be done: links lead somewhere, commands are known, entries are whole, names are described."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kedro.framework.session import KedroSession
from PIL import Image

from tests.conftest import ROOT, copy_project
from unlearnable.cli import run
from unlearnable.config.entries import require_keys
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.validation import check
from unlearnable.models import MODELS, build
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.poisons import POISONS, Crafting, craft
from unlearnable.recoveries import RECOVERIES, recover, recovery_named
from unlearnable.settings import CONFIG_LOADER_ARGS
from unlearnable.study.definition import read_study

DOCS = ROOT / "docs"
GENERATED = DOCS / "reference"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(path for path in DOCS.rglob("*.md") if GENERATED not in path.parents),
]
RECORDS = {DOCS / name for name in ("adr", "results", "log.md", "reliability.md", "reliability-inputs.md")}  # with the commands of then
GUIDES = [page for page in PAGES if not {page, *page.parents} & RECORDS]
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


@pytest.mark.parametrize("guide", PAGES, ids=lambda guide: str(guide.relative_to(ROOT)))
def test_links_lead_somewhere(guide):
    """Those to generated pages are followed in the site that is built (tests/test_site.py)."""
    for link in re.findall(r"\]\(([^)\s]+)\)", guide.read_text()):
        path, _, anchor = link.partition("#")
        page = (guide.parent / path).resolve() if path else guide
        if "://" in link or GENERATED in page.parents:
            continue
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


def yaml_blocks(key: str) -> list[dict]:
    """Return the blocks of YAML that have that key, or for an empty one those whose values are catalog entries."""
    found = [yaml.safe_load(block) for block in blocks("yaml")]
    entries = [block for block in found if any(isinstance(value, dict) and "type" in value for value in block.values())]
    return [block for block in found if key in block] if key else entries


def test_entries_that_are_shown_are_whole():
    entries = yaml_blocks("")
    assert len(entries) >= 3
    for entry in entries:
        require_keys(entry)


def test_studies_that_are_written_out_can_be_read(tmp_path):
    written = yaml_blocks("poisons")
    assert len(written) >= 2
    for number, block in enumerate(written):
        (tmp_path / f"study{number}.yml").write_text(yaml.safe_dump(block))
        assert read_study(tmp_path / f"study{number}.yml").poisons == block["poisons"]


def test_every_recovery_and_network_is_described():
    text = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in (*RECOVERIES, *MODELS) if f"`{name}`" not in text] == []


# ---- the code of the how-to pages does what the page says


def shown(page: str) -> str:
    """Return the block of Python in a how-to page."""
    [block] = re.findall(r"```python\n(.*?)```", (DOCS / "how-to" / page).read_text(), re.DOTALL)
    return block


@pytest.fixture
def registers(monkeypatch):
    """Let what a page registers be gone afterwards."""
    for register in (POISONS, RECOVERIES):
        monkeypatch.setattr(register, "_known", dict(register._known))


def test_the_poison_that_is_shown_stays_in_its_budget_and_belongs_to_the_class(registers, clean):
    exec(shown("add-a-poison.md"), {})  # ours  # noqa: S102
    [settings] = [block["craft"]["stripes"] for block in yaml_blocks("craft") if "stripes" in block["craft"]]
    stronger, moved = (craft("stripes", clean, Crafting(), settings=each).images.astype(int) - clean.images for each in (settings, {}))
    assert np.abs(stronger).max() == 15  # 0.06 of 255 levels
    assert np.abs(moved).max() == 8
    for label in range(clean.num_classes):
        rows = moved[clean.labels == label]
        assert (rows == rows[0]).all()  # no pixel of these images is near black or white
        assert (moved[clean.labels != label] != rows[0]).any(axis=(1, 2, 3)).all()


def test_the_recovery_that_is_shown_is_a_mean_along_rows(registers, clean):
    exec(shown("add-a-recovery.md"), {})  # ours  # noqa: S102
    [settings] = [block["recover"]["row_blur"] for block in yaml_blocks("recover") if "row_blur" in block["recover"]]
    recovered = recover("row_blur", clean, seed=0, device=torch.device("cpu"), settings={})
    assert recovery_named("row_blur", settings).reach == 2
    before = clean.images.astype(float)
    expected = (before[..., :-2] + before[..., 1:-1] + before[..., 2:]) / 3
    assert np.abs(recovered.images[..., 1:-1] - expected).max() <= 0.5 + 1e-3


def test_the_network_that_is_shown_has_its_features(monkeypatch):
    """The function, and its line in the table."""
    names = {}
    exec(shown("add-a-network.md"), names)  # ours  # noqa: S102
    [name, function] = re.search(r'^    "(\w+)": (\w+),$', (DOCS / "how-to" / "add-a-network.md").read_text(), re.MULTILINE).groups()
    monkeypatch.setitem(MODELS._known, name, names[function])
    network = build("one_layer", shape=(3, 8, 8), num_classes=5, seed=0)
    assert network.features(torch.zeros(2, 3, 8, 8)).shape == (2, 256)
    assert sum(weights.numel() for weights in network.parameters()) == (3 * 8 * 8 + 1) * 256 + (256 + 1) * 5


def test_the_dataset_that_is_shown_is_read(tmp_path):
    project = copy_project(tmp_path / "project")
    [entry, recipes] = re.findall(r"```yaml\n(.*?)```", (DOCS / "how-to" / "add-a-dataset.md").read_text(), re.DOTALL)
    (project / "conf" / "flowers").mkdir()
    (project / "conf" / "flowers" / "catalog.yml").write_text(entry)
    (project / "conf" / "flowers" / "parameters.yml").write_text(recipes)
    rng = np.random.default_rng(0)
    for place in [f"{label}/{number}.png" for label in ("rose", "tulip") for number in range(20)]:
        path = tmp_path / "data" / "flowers" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(path)
    with KedroSession.create(project, env="flowers", runtime_params={"data_root": str(tmp_path / "data")}) as session:
        session.run(pipeline_names=["ingest"])
        catalog = session.load_context().catalog
        images = catalog.load("clean_train")
    assert images.shape == (3, 64, 64)
    assert images.num_classes == 2
    assert len(images) + len(catalog.load("clean_test")) == 40


def test_the_page_of_formats_names_every_key_and_column(golden):
    text = (DOCS / "formats.md").read_text()
    written = {key for path in golden.rglob("08_reporting/**/scores.json/*/scores.json") for key in json.loads(path.read_text())}
    tables = [path for name in ("history", "dfr") for path in golden.rglob(f"data/**/{name}.parquet/*/{name}.parquet")]
    columns = {column.partition(".")[0] + (".*" if "." in column else "") for path in tables for column in pd.read_parquet(path)}
    assert len(tables) >= 2
    assert {"accuracy", "dfr", "separability"} <= written
    assert [name for name in sorted(written | columns) if f"`{name}`" not in text] == []
