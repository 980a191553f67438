"""The pages of the catalog and of the environments, from ``conf`` and from the pipelines."""

from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from parse import parse

from docsite import CONF, code, first_sentence, table
from unlearnable.pipeline_registry import register_pipelines

RAW = "raw_images"
OURS = "unlearnable."
CATALOG = """# Catalog entries

These are the datasets by which the pipelines meet, from `conf/base/catalog.yml`. A name with a placeholder, such as
`{training}_checkpoints`, is an entry for each dataset of the pipelines that fits and has no entry of
its own.

| in a path | is |
| --- | --- |
| `${place:}` | the folder of the entry: dataset, poison, recovery, model and seed as far as they decide it, and the hash of its recipe |
| `${place:NAME}` | the folder of another entry |
| `${dataset:}` | the name of the dataset |
| `${param:NAME}` | a parameter of the run |

Elsewhere in an entry, `${recipe:}` is the hash of its recipe, `${recipe:NAME}` that of another entry, and `${filepath:NAME}` the path
of another entry. [Recipes and reuse](../concepts/recipes.md) says what a recipe is.

`kedro ipython` starts Python with the catalog; there, `catalog.load("NAME")` returns one.
"""
ENVIRONMENTS = """# Environments

An environment is a folder of `conf`; choose it with `--env`. What it does not say is as in `conf/base`, or as in the environment that its
`like` names. It holds one catalog entry, `raw_images`, and the recipes that fit the dataset.
"""
STUDIES = """
## Studies

`kedro study run NAME --env=ENV` runs one; [Cells and studies](../concepts/studies.md) says how.

"""


def catalog_page() -> str:
    """Return the page: the entries of each layer, with the node that makes them, their class and their path."""
    entries = {name: entry for name, entry in _catalog("base").items() if not name.startswith("_")}
    made_by = _made_by(list(entries))
    text = CATALOG
    for layer, names in groupby(entries, key=lambda name: _layer(entries[name])):
        rows = [
            [code(name), ", ".join(map(code, sorted(made_by[name]))), _kind(entries[name]), code(entries[name].get("filepath", ""))]
            for name in names
        ]
        text += f"\n## {layer.replace('_', ' ').capitalize()}\n\n" + table(["entry", "made by", "class", "path"], rows)
    return text + "\n## Classes\n\n" + table(["class", "what it holds"], _classes())


def _made_by(names: list[str]) -> dict[str, set[str]]:
    """Return the nodes that make each entry; a name with a placeholder has those of every dataset that fits and is no entry itself."""
    made: dict[str, set[str]] = {name: set() for name in names}
    nodes = {node for pipeline in register_pipelines().values() for node in pipeline.nodes}
    for output, maker in ((output, node.name) for node in nodes for output in node.outputs):
        fitting = [output] if output in made else [name for name in names if parse(name, output)]
        for name in fitting[:1]:  # none where it stays in memory
            made[name].add(maker)
    return made


def environments_page() -> str:
    """Return the page: for each environment, its images, its model and what its files say of it."""
    folders = sorted(path for path in CONF.iterdir() if (path / "catalog.yml").exists())
    text = ENVIRONMENTS + "\n" + table(["environment", "images", "like", "model", "comments in its files"], map(_environment, folders))
    return text + STUDIES + table(["study", "environment", "what it asks"], _studies())


def _environment(folder: Path) -> list[str]:
    parameters = folder / "parameters.yml"
    values = (yaml.safe_load(parameters.read_text()) or {}) if parameters.exists() else {}
    raw = _catalog(folder.name).get(RAW, _catalog("base")[RAW])
    about = " ".join(filter(None, (_header(folder / "catalog.yml"), _header(parameters))))
    return [code(folder.name), _kind(raw), code(values.get("like", "")), code(values.get("model", "")), about]


def _studies() -> Iterator[list[str]]:
    for file in sorted(CONF.glob("*/study/*.yml")):
        yield [code(file.stem), code(file.parents[1].name), yaml.safe_load(file.read_text()).get("description", "")]


def _catalog(environment: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / environment / "catalog.yml").read_text()) or {}


def _header(file: Path) -> str:
    """Return the comment at the start of a file, above its first entry or (of a catalog) beside it, and nothing where it has none."""
    if not file.exists() or file.parent.name == "base":  # the base's comments are about single entries
        return ""
    first = file.read_text().partition("\n\n")[0].splitlines()
    above = [line for line in first if line.startswith("#")]
    beside = first[:1] if file.name == "catalog.yml" else []
    return " ".join(line.partition("#")[2].strip() for line in above or beside)


def _layer(entry: dict[str, Any]) -> str:
    return str(entry.get("metadata", {}).get("kedro-viz", {}).get("layer", "others"))


def _kind(entry: dict[str, Any]) -> str:
    kind = str(entry["type"])
    return f"[`{kind.rpartition('.')[2]}`][{kind}]" if kind.startswith(OURS) else code(kind)


def _classes() -> Iterator[list[str]]:
    """Yield each class that an entry of any environment names, with the first sentence of its docstring."""
    entries = (entry for file in CONF.glob("*/catalog.yml") for entry in (yaml.safe_load(file.read_text()) or {}).values())
    for kind in sorted({str(entry["type"]) for entry in entries}):
        module, _, name = kind.rpartition(".")
        yield [_kind({"type": kind}), first_sentence(getattr(import_module(module), name).__doc__)]
