"""The generated pages say what the code and the configuration say, all of it."""

from typing import Annotated, Literal

import pytest
import yaml
from docsite import table
from docsite.__main__ import pages
from docsite.navigation import configuration
from docsite.parameters import BY_NETWORK

from tests.conftest import ROOT
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.recipe import DERIVED
from unlearnable.methods import in_words
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.ranges import FRACTION, Range
from unlearnable.settings import CONFIG_LOADER_ARGS
from unlearnable.signatures import described

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages()


def leaves(parameters: dict, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in parameters.items():
        if isinstance(value, dict) and value and name != BY_NETWORK:
            found |= leaves(value, f"{path}{name}.")
        else:
            found[path + name] = value
    return found


def test_every_parameter_has_its_row_with_its_default(made):
    loader = RecipeConfigLoader(str(ROOT / "conf"), env="base", **CONFIG_LOADER_ARGS)
    given = leaves({name: value for name, value in loader["parameters"].items() if name not in DERIVED})
    rows = {line.split("`")[1]: line for line in made["parameters.md"].splitlines() if line.startswith("| `")}
    asked = {name for name, value in given.items() if value != {}}  # methods without settings have an empty block
    assert len(asked) > 100
    assert sorted(name for name in asked if name not in rows and not name.startswith(("probe.train.", "audit.train."))) == []
    assert "| `4` | `4` | whole number, at least 1 |" in rows["craft.lsp.patches"]
    assert rows["threads"].count("`null`") == 1
    assert rows["craft.lsp.l2"].endswith("| norm of each perturbation before rounding, in units of [0, 1] |")


def test_a_setting_that_only_the_code_names_has_the_default_of_the_code(made):
    assert "`train.gradient_clip` | `null` | `null` | number, or `null`" in made["parameters.md"]


def test_the_default_in_python_is_that_of_the_outer_signature(made):
    """Error-minimising noise trains its surrogate with batches of 512 and gradients clipped at 5 (Huang et al.); other poisons with 128."""
    assert "`craft.em_samplewise.surrogate.batch_size` | `128` | `512` |" in made["parameters.md"]
    assert "`craft.em_samplewise.surrogate.gradient_clip` | `null` | `5.0` |" in made["parameters.md"]


def test_types_are_said_in_words():
    assert in_words(described(Annotated[int, Range(ge=1, le=100)])) == "whole number, at least 1, at most 100"
    assert in_words(described(Annotated[float, FRACTION] | None)) == "number, at least 0, at most 1, or `null`"
    assert in_words(described(Literal["sgd", "adam"])) == "`sgd` or `adam`"
    assert in_words(described(list[int])) == "list of: whole number"


def test_every_entry_of_the_catalog_has_its_row_and_the_node_that_makes_it(made):
    entries = yaml.safe_load((ROOT / "conf" / "base" / "catalog.yml").read_text())
    rows = {line.split("`")[1]: line for line in made["catalog.md"].splitlines() if line.startswith("| `")}
    assert {name for name in entries if not name.startswith("_")} <= rows.keys()
    trainings = ("clean", "poisoned", "probed", "recovered", "second")
    made_by = rows["{training}_checkpoints"] + rows["probed_checkpoints"]
    assert [name for name in trainings if f"`trainings.train_{name}`" not in made_by] == []
    for node in register_pipelines()["ingest"].nodes:
        assert all(f"| `{node.name}` |" in rows[output] for output in node.outputs)


def test_every_environment_and_command_is_listed(made):
    environments = {path.parent.name for path in (ROOT / "conf").glob("*/catalog.yml")}
    assert all(f"| `{name}` |" in made["environments.md"] for name in environments)
    commands = ("run", "study run", "study report", "runs reap", "tracking replay")
    assert all(f"\n## kedro {name}\n" in made["commands.md"] for name in commands)
    assert all(f"| `{name}` |" in made["commands.md"] for name in ("make demo", "make docs", "orthoproj"))


def test_every_page_of_the_documents_is_in_the_navigation():
    text = str(configuration((ROOT / "mkdocs.yml").read_text())["nav"])
    written = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "reference" not in path.parts]
    assert [name for name in written if f"'{name}'" not in text] == []
    assert "*" not in text


def test_a_cell_of_a_table_stays_one_cell():
    assert table(["a", "b"], [["x | y", "two\nlines"]]) == "| a | b |\n| --- | --- |\n| x \\| y | two lines |\n"


def test_every_study_is_listed_with_what_it_asks(made):
    for file in (ROOT / "conf").glob("*/study/*.yml"):
        asked = " ".join(yaml.safe_load(file.read_text())["description"].split())
        assert f"| `{file.stem}` | `{file.parents[1].name}` | {asked} |" in made["environments.md"]
