"""Private names of other libraries that we use: each is in this table, and a version that has it no more is named."""

import ast
import inspect
from importlib import import_module
from importlib.metadata import version

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "unlearnable"
# package and what holds the names -> the names; of a class they may be set in its methods
PRIVATE = {
    ("kedro", "kedro.config:OmegaConfigLoader"): (
        "_fs",
        "_get_conf_env_path",
        "_initialise_filesystem_and_protocol",
        "_read_dir_configs",
        "_read_raw_config",
    ),
    ("kedro", "kedro.framework.session:KedroSession"): ("_hook_manager",),
    ("kedro", "kedro.io:AbstractVersionedDataset"): (
        "_cached_load_version",
        "_exists_function",
        "_filepath",
        "_get_load_path",
        "_get_save_path",
        "_release",
        "_version",
    ),
    ("kedro-datasets", "kedro_datasets._typing"): ("ImagePreview", "JSONPreview", "PlotlyPreview", "TablePreview"),
    ("omegaconf", "omegaconf:Node"): ("_get_full_key",),
    ("torch", "torch"): ("_standard_gamma",),
    ("torch", "torch.ops.mkldnn"): ("_is_mkldnn_bf16_supported",),
    ("datasets", "datasets:Dataset"): ("_fingerprint",),
}
OF_PYTHON = {"__name__", "_exit"}  # os._exit is documented


def held(place: str, name: str) -> bool:
    """Return whether a module has a name, or a class or one of its bases says it."""
    module, _, found = place.partition(":")
    if not found:
        outer, _, inner = module.partition(".")
        holder = import_module(module) if outer != "torch" else import_module("torch")
        for part in inner.split(".") if outer == "torch" and inner else ():
            holder = getattr(holder, part)
        return hasattr(holder, name)
    kinds = inspect.getmro(getattr(import_module(module), found))
    return any(name in inspect.getsource(kind) for kind in kinds if kind.__module__ != "builtins")


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE.items() for name in names], ids=str)
def test_each_is_there(owner, name):
    package, place = owner
    if package == "datasets":
        pytest.importorskip("datasets")
    assert held(place, name), f"{package} {version(package)}: {place} has no {name}, which we use"


def test_no_other_is_used():
    trees = [ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")}
    ours = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    ours |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    ours |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    known = {name for names in PRIVATE.values() for name in names} | OF_PYTHON
    assert used - ours - known == set()
