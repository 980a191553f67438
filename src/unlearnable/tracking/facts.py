"""What a record says about a run at its start: its parameters, who runs which code, and a description in words."""

import getpass
import json
import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

from unlearnable import __version__
from unlearnable.config.graph import found_at
from unlearnable.config.recipe import CELL_NAMES, FORMAT, PLACES
from unlearnable.errors import InputError
from unlearnable.origin import DIRTY, commit

Settings = Mapping[str, Any]
NOTE = "mlflow.note.content"  # the tag that MLflow's page shows as the description
CONTEXT = "MLFLOW_RUN_CONTEXT"  # MLflow's variable: tags that whatever starts a run adds, such as a study
ONE_OF = {"craft": ("poison",), "recover": ("recovery", "audit.recovery")}  # blocks of methods, and what chooses one
EVERYWHERE = ("dataset", "threads")
IMAGES = "clean_train"  # the artifact whose recipe identifies the images of a run
ALL = "default"  # how people see the name of the pipeline ``__default__``


def start_of(
    parameters: Settings, run_params: Settings, taken: Collection[str], recipes: Mapping[str, str], raw_images: Settings
) -> dict[str, Any]:
    """Return the name, tags, parameters and dataset of a run.

    Args:
        parameters: all parameters, as the loader returns them.
        run_params: Kedro's ``run_params`` of the run.
        taken: the parameters that its nodes take, by their names in the graph.
        recipes: the recipe hash of each artifact that the run may make, and of the images.
        raw_images: the catalog entry of the dataset.

    Raises:
        InputError: MLFLOW_RUN_CONTEXT is not a JSON object.
    """
    chain = ",".join(run_params["pipeline_names"] or ["__default__"])
    nodes = ",".join(node.rpartition(".")[2] for node in run_params.get("node_names") or ())
    kedro = {
        "pipeline": chain,
        "env": str(run_params["env"]),
        "format": str(FORMAT),
        NOTE: note(parameters, run_params, taken),
    }
    return {
        "name": name(parameters, nodes or chain, taken),
        "tags": {f"recipe.{name}": value for name, value in recipes.items()} | kedro | who() | code(),
        "params": deciding(parameters, taken),
        "dataset": dataset(str(parameters["dataset"]), recipes[IMAGES], raw_images),
    }


def deciding(parameters: Settings, taken: Collection[str]) -> dict[str, str]:
    """Return the parameters that decide a run, by dotted name: those its nodes take, with the settings of the chosen methods only."""
    asked = [part.removeprefix("params:").split(".") for part in taken] + [[name] for name in EVERYWHERE]
    blocks = {block for block, *_ in asked}
    chosen = {block: {found_at(parameters, name) for name in names if name.split(".")[0] in blocks} for block, names in ONE_OF.items()}
    for block, part, *_ in (names for names in asked if len(names) > 1 and names[0] in chosen):
        chosen[block].add(part)  # a node takes this method by name
    kept = {block: _of_methods(value, chosen.get(block)) for block, value in parameters.items() if block in blocks}
    return {key: str(value) for key, value in flatten(kept).items()}


def name(parameters: Settings, chain: str, taken: Collection[str]) -> str:
    """Return the chain (or its nodes) and those names of the cell that the nodes take, such as ``orthoproj lsp tiny_cnn seed 0``."""
    decided = deciding(parameters, taken)
    words = [decided[part] for part in ("poison", "recovery", "model") if part in decided]
    seed = [f"seed {decided['seed']}"] if "seed" in decided else []
    return " ".join([chain.replace("__default__", ALL), *words, *seed])


def note(parameters: Settings, run_params: Settings, taken: Collection[str]) -> str:
    """Return one or two sentences about the run, in Markdown."""
    chains = ", ".join(chain.replace("__default__", ALL) for chain in run_params["pipeline_names"] or [ALL])
    decided = deciding(parameters, taken)
    cell = [f"{part} {decided[part]}" for part in CELL_NAMES if part in decided]
    changed = [f"{key} = {value}" for key, value in flatten(run_params.get("runtime_params") or {}).items()]
    said = [f"Pipeline **{chains}** on the dataset **{decided['dataset']}**{': ' if cell else ''}{', '.join(cell)}."]
    return "\n\n".join([*said, *([f"Set for this run: {', '.join(changed)}."] if changed else [])])


def dataset(title: str, digest: str, source: Settings) -> dict[str, str]:
    """Return a dataset as MLflow shows it: its name, the hash of everything that decides its bytes, and its source."""
    said = {key: value for key, value in source.items() if key not in PLACES}
    return {"name": title, "digest": digest, "source": json.dumps(said, default=str)}


def who() -> dict[str, str]:
    """Return the tags that MLflow's own client would set (who runs which program), and those that whatever started the run adds.

    Raises:
        InputError: MLFLOW_RUN_CONTEXT is not a JSON object.
    """
    said = os.environ.get(CONTEXT) or "{}"
    try:
        more = json.loads(said)
    except ValueError:
        more = None
    if not isinstance(more, dict):
        raise InputError(f"{CONTEXT}: expected a JSON object of tags, got {said!r}")
    own = {"mlflow.user": _user(), "mlflow.source.name": sys.argv[0], "mlflow.source.type": "LOCAL"}
    return own | {str(key): str(value) for key, value in more.items()}


def code() -> dict[str, str]:
    """Return the tags of a run and of each child: the version of this package and, if known, the commit of its source."""
    found = commit()
    tags = {"unlearnable.version": __version__}
    if found is None:
        return tags
    return tags | {"mlflow.source.git.commit": found.removesuffix(DIRTY), "mlflow.source.git.dirty": str(found.endswith(DIRTY)).lower()}


def flatten(settings: Settings, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return flat


def _of_methods(block: Any, chosen: Collection[Any] | None) -> Any:
    if chosen is None or not isinstance(block, dict):
        return block
    return {key: value for key, value in block.items() if key in chosen or not isinstance(value, dict)}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container whose user has no name
        return str(os.getuid())
