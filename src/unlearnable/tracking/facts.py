"""What a record says of a run as it starts: what decides it, who runs what, and the same in words."""

import getpass
import json
import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

from unlearnable import __version__
from unlearnable.config.recipe import CELL_NAMES, FORMAT, PLACES
from unlearnable.errors import InputError
from unlearnable.origin import DIRTY, commit

Settings = Mapping[str, Any]
NOTE = "mlflow.note.content"  # the tag that MLflow's page shows as the description
CONTEXT = "MLFLOW_RUN_CONTEXT"  # MLflow's variable for tags that the starter of a run adds, such as a study
ONE_OF = {"craft": ("poison",), "recover": ("recovery", "audit.recovery")}  # blocks with a block for each method, and what chooses
EVERYWHERE = ("dataset", "threads")
IMAGES = "clean_train"  # the artifact whose recipe says which images a run is about
ALL = "default"  # what the pipeline ``__default__`` is called where people read


def start_of(
    parameters: Settings, run_params: Settings, taken: Collection[str], recipes: Mapping[str, str], raw_images: Settings
) -> dict[str, Any]:
    """Return name, tags, parameters and dataset of a run.

    Args:
        parameters: all of them, as the loader gives them.
        run_params: Kedro's, of the run.
        taken: the parameters that its nodes take, as the graph names them.
        recipes: the hash of the recipe of each artifact that the run may make, and of the images.
        raw_images: the catalog entry of the dataset.

    Raises:
        InputError: MLFLOW_RUN_CONTEXT holds no JSON object.
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
    """Return, under flat names, what decides a run: what its nodes take, and of methods only the settings of the chosen ones."""
    asked = [part.removeprefix("params:").split(".") for part in taken] + [[name] for name in EVERYWHERE]
    blocks = {block for block, *_ in asked}
    chosen = {block: {get(parameters, name) for name in names if name.split(".")[0] in blocks} for block, names in ONE_OF.items()}
    for block, part, *_ in (names for names in asked if len(names) > 1 and names[0] in chosen):
        chosen[block].add(part)  # one that a node takes by its name
    kept = {block: _of_methods(value, chosen.get(block)) for block, value in parameters.items() if block in blocks}
    return {key: str(value) for key, value in flatten(kept).items()}


def name(parameters: Settings, chain: str, taken: Collection[str]) -> str:
    """Return the chain, or the nodes of it, and the cell in words, of which only what the nodes take: ``orthoproj lsp tiny_cnn seed 0``."""
    decided = deciding(parameters, taken)
    words = [decided[part] for part in ("poison", "recovery", "model") if part in decided]
    seed = [f"seed {decided['seed']}"] if "seed" in decided else []
    return " ".join([chain.replace("__default__", ALL), *words, *seed])


def note(parameters: Settings, run_params: Settings, taken: Collection[str]) -> str:
    """Return a sentence or two on the run, in Markdown."""
    chains = ", ".join(chain.replace("__default__", ALL) for chain in run_params["pipeline_names"] or [ALL])
    decided = deciding(parameters, taken)
    cell = [f"{part} {decided[part]}" for part in CELL_NAMES if part in decided]
    changed = [f"{key} = {value}" for key, value in flatten(run_params.get("runtime_params") or {}).items()]
    said = [f"Pipeline **{chains}** on the dataset **{decided['dataset']}**{': ' if cell else ''}{', '.join(cell)}."]
    return "\n\n".join([*said, *([f"Set for this run: {', '.join(changed)}."] if changed else [])])


def dataset(title: str, digest: str, source: Settings) -> dict[str, str]:
    """Return a dataset as MLflow shows it: its name, the hash of all that decides its bytes, and where they come from."""
    said = {key: value for key, value in source.items() if key not in PLACES}
    return {"name": title, "digest": digest, "source": json.dumps(said, default=str)}


def who() -> dict[str, str]:
    """Return the tags that MLflow's own client would set: who runs what, and the tags that the starter of the run adds.

    Raises:
        InputError: MLFLOW_RUN_CONTEXT holds no JSON object.
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
    """Return the tags of a run and of each child: the version of this package and, where it is known, the commit of its source."""
    found = commit()
    tags = {"unlearnable.version": __version__}
    if found is None:
        return tags
    return tags | {"mlflow.source.git.commit": found.removesuffix(DIRTY), "mlflow.source.git.dirty": str(found.endswith(DIRTY)).lower()}


def get(settings: Settings, dotted: str) -> Any:
    """Return a nested setting by its dotted name; None where there is none."""
    found: Any = settings
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


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
