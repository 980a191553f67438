"""Plug-ins: what other packages bring is found, checked, recorded and described, and one that is broken breaks nothing else."""

import importlib
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import unlearnable
from tests.config.test_recipe import loader
from tests.conftest import ROOT
from unlearnable import cli, plugins
from unlearnable.config import settings as kept
from unlearnable.config import validation
from unlearnable.errors import InputError
from unlearnable.models import MODELS
from unlearnable.poisons import POISONS
from unlearnable.recoveries import RECOVERIES

EXAMPLE = ROOT / "examples" / "plugin"
REGISTERS = {"poisons": POISONS, "recoveries": RECOVERIES, "models": MODELS}
RECOVERY = '''
"""Nothing is done (Nobody et al. 2020)."""
from dataclasses import dataclass
from unlearnable.recoveries.base import Recovery, register

@register("nothing_much")
@dataclass(frozen=True, kw_only=True)
class NothingMuch(Recovery):
    """The images as they are."""
'''
MODEL = '''
"""A network of others."""
from torch import nn
from unlearnable.models import MODELS

@MODELS.add("flat_net")
def flat_net(shape):
    """Return the pixels."""
    return nn.Flatten()
'''
SOURCE = '''
from unlearnable.sources.folder import FolderImages

class Album(FolderImages):
    """Images of an album."""
'''


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """Return a folder with the example installed, as an installer of packages does, without any network."""
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable, "--target", str(target)]
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", *options, str(source)], check=True)
    return target


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder of packages that is on the path, and what reads it anew; all is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python takes what was compiled in the same second
    monkeypatch.setattr(kept, "_kept_at", lambda: tmp_path / "not" / "there" / "kept.json")
    for register in REGISTERS.values():
        for state in ("_known", "_notes", "packages", "broken"):
            monkeypatch.setattr(register, state, dict(getattr(register, state)))
    before = {group: register.snapshot() for group, register in REGISTERS.items()}

    def forget() -> None:
        for cached in (plugins.installed, plugins.identity, kept.settings, validation._all_parameters):
            cached.cache_clear()
        for name in [
            name for name in set(sys.modules) - modules if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder)
        ]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def read() -> Path:
        forget()
        for group, register in REGISTERS.items():
            register.restore(before[group])
            register.packages, register.broken = {}, {}
            plugins.load(register, group)
        return folder

    yield read
    monkeypatch.undo()
    forget()


@pytest.fixture
def installed(site, built):
    """Return what the fixture ``site`` does, with the example installed."""
    shutil.copytree(built, site(), dirs_exist_ok=True)
    site()
    return site


def package(folder: Path, name: str, modules: dict[str, str], points: str, version: str = "1.0") -> None:
    """Write a package as an installer would."""
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)


def commanded(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.cli, list(arguments))
    return result.exit_code, result.output


def test_the_example_is_found_and_its_own_tests_pass(installed, monkeypatch):
    assert POISONS.packages == {"chequers": "unlearnable-chequers"}
    tests = runpy.run_path(str(EXAMPLE / "tests" / "test_chequers.py"))
    for name, test in tests.items():
        if name.startswith("test_"):
            test()
    assert sum(name.startswith("test_") for name in tests) == 2


def test_its_settings_are_checked_as_ours_are(installed):
    images, labels = np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2
    with pytest.raises(InputError, match=r"parameter 'craft\.chequers\.linf': expected less than or equal to 1, got 2"):
        unlearnable.craft("chequers", images, labels, linf=2)
    with pytest.raises(InputError, match=r"parameter 'craft\.chequers\.linf': expected greater than 0, got 0"):
        validation.check(loader(poison="chequers", craft={"chequers": {"linf": 0}})["parameters"])
    validation.check(loader(poison="chequers")["parameters"])


def test_it_is_listed_and_described(installed):
    code, output = commanded("poisons", "list")
    assert code == 0
    lines = output.splitlines()
    assert next(line for line in lines if line.startswith("chequers ")).endswith(" [unlearnable-chequers]")
    assert {line.split()[0] for line in lines} == set(POISONS)
    code, output = commanded("poisons", "describe", "chequers")
    assert output.splitlines() == [
        "chequers: Return for each image the chequers of its class, each value -linf or linf, in units of [0, 1].",
        "source: Chequers: an example of a poison that another package brings. It was not published anywhere.",
        "copies of any size: made for each",
        f"package: unlearnable-chequers {plugins.identity('unlearnable-chequers')}",
        "settings",
        "  craft.chequers.linf  0.03137254901960784  (number, above 0, at most 1)",
    ]


@pytest.mark.parametrize("kind", REGISTERS)
def test_everything_registered_is_listed_and_described(kind):
    listed = commanded(kind, "list")[1].splitlines()
    assert {line.split()[0] for line in listed} - {"timm:NAME"} == set(REGISTERS[kind])
    for name in REGISTERS[kind]:
        code, output = commanded(kind, "describe", name)
        assert code == 0
        assert output.startswith(f"{name}: ")
        assert "\nsource: " in output
    code, output = commanded(kind, "describe", "nothing_of_this_name")
    assert code == 1
    assert output.startswith("Error: unknown ")


def test_a_description_has_the_needs_and_nested_settings():
    output = commanded("recoveries", "describe", "dfr")[1]
    assert "needs: 5,000 clean images\n" in output
    output = commanded("poisons", "describe", "tap")[1]
    assert "needs: a network, which it trains\n" in output
    assert "  craft.tap.attack.restarts          8  (whole number, at least 1)\n" in output


# ---- the recipe


def hash_of(site) -> str:
    site()
    return loader(poison="chequers").recipe_hash("poisoned_train")


def test_the_version_and_the_code_of_a_plug_in_are_part_of_the_recipe(installed):
    folder = installed()
    found = loader(poison="chequers").recipe("poisoned_train")
    identity = found["code"]["unlearnable-chequers"]
    assert identity.startswith("0.1.0 ")
    assert found["craft.chequers"] == {"linf": 8 / 255}
    assert "unlearnable-chequers" not in loader(poison="lsp").recipe("poisoned_train")["code"]
    hashes = [hash_of(installed)]
    assert hash_of(installed) == hashes[0]
    module = folder / "unlearnable_chequers" / "__init__.py"
    module.write_text(module.read_text().replace("8 / 255", "4 / 255"))  # another default
    hashes.append(hash_of(installed))
    assert loader(poison="chequers").recipe("poisoned_train")["craft.chequers"] == {"linf": 4 / 255}
    module.write_text(module.read_text().replace("1 - 2 *", "2 *"))  # another rule
    hashes.append(hash_of(installed))
    [metadata] = folder.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 0.1.0", "Version: 0.2.0"))
    hashes.append(hash_of(installed))
    assert len(set(hashes)) == 4


def test_what_was_read_of_a_plug_in_is_kept_until_its_code_changes(installed, monkeypatch):
    monkeypatch.undo()  # the name of what is kept is asked for, and nothing is written
    sys.path.insert(0, str(folder := installed()))
    try:
        plugins.installed.cache_clear(), plugins.identity.cache_clear()
        first = kept._kept_at()
        module = folder / "unlearnable_chequers" / "__init__.py"
        module.write_text(module.read_text().replace("8 / 255", "4 / 255"))
        plugins.installed.cache_clear(), plugins.identity.cache_clear()
        assert kept._kept_at() != first
    finally:
        sys.path.remove(str(folder))


# ---- the other groups


def test_recoveries_networks_and_sources_come_from_packages_too(site):
    folder = site()
    points = "[unlearnable.recoveries]\nnothing_much = mine_recovery\n[unlearnable.models]\nflat_net = mine_model\n"
    points += "[unlearnable.sources]\nalbum = mine_source:Album\n"
    package(folder, "mine", {"mine_recovery": RECOVERY, "mine_model": MODEL, "mine_source": SOURCE}, points)
    site()
    images = np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2
    trained = unlearnable.train("flat_net", images, images, recovery="nothing_much", epochs=1, batch_size=2)
    assert trained.network.model.head.in_features == 3 * 8 * 8
    assert "source: Nothing is done (Nobody et al. 2020)." in commanded("recoveries", "describe", "nothing_much")[1]
    assert plugins.source("album") == "mine_source.Album"
    assert plugins.source("pandas.CSVDataset") == "pandas.CSVDataset"
    validation.check(loader(recovery="nothing_much", model="flat_net")["parameters"])
    assert "mine" in loader(recovery="nothing_much").recipe("recovered_train")["code"]


def test_a_source_is_named_in_the_catalog_and_its_package_in_the_recipe(site, tmp_path):
    folder = site()
    package(folder, "mine", {"mine_source": SOURCE}, "[unlearnable.sources]\nalbum = mine_source:Album\n")
    site()
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    file = conf / "folder" / "catalog.yml"
    file.write_text(file.read_text().replace("unlearnable.sources.folder.FolderImages", "album"))
    from unlearnable.config.loader import RecipeConfigLoader
    from unlearnable.settings import CONFIG_LOADER_ARGS

    found = RecipeConfigLoader(str(conf), env="folder", runtime_params={"originals": str(tmp_path)}, **CONFIG_LOADER_ARGS)
    assert found["catalog"]["raw_images"]["type"] == "mine_source.Album"
    assert found.recipe("clean_train")["code"]["mine"].startswith("1.0 ")


# ---- broken ones

REASONS = {
    "import missing_of_mine": "(ModuleNotFoundError: No module named 'missing_of_mine')",
    "raise SystemExit(3)": "(SystemExit: 3)",
    "1 / 0": "(ZeroDivisionError: division by zero)",
    "": "(ValueError: broken registers no poison 'mine')",
    "from unlearnable.poisons import POISONS\nPOISONS.add('mine')(print)\nPOISONS.add('ops')(print)": (
        "(ValueError: poison 'ops' is registered twice)"
    ),
}


@pytest.mark.parametrize("text", REASONS)
def test_a_plug_in_that_cannot_be_loaded_is_named_and_everything_else_works(text, installed):
    package(installed(), "breaks", {"broken": text}, "[unlearnable.poisons]\nmine = broken\n")
    installed()
    line = f"'mine' of the plug-in breaks is left out {REASONS[text]}"
    assert kept.left_out() == [line]
    assert commanded("poisons", "list")[1].splitlines()[-1] == line
    assert "mine" not in POISONS
    assert POISONS["ops"] is not print
    unlearnable.craft("chequers", np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2)
    with pytest.raises(InputError) as error:
        validation.check(loader(poison="mine")["parameters"])
    assert str(error.value) == f"poison 'mine': {line}"
    with pytest.raises(InputError) as error:
        unlearnable.craft("mine", np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2)
    assert str(error.value) == f"poison 'mine': {line}"
    validation.check(loader(poison="ops")["parameters"])


def test_a_known_name_is_not_taken_over(site):
    package(site(), "takes", {"taking": "raise AssertionError('was imported')"}, "[unlearnable.poisons]\nops = taking\n")
    own = POISONS["ops"]
    site()
    assert kept.left_out() == ["'ops' of the plug-in takes is left out (ValueError: poison 'ops' already exists)"]
    assert POISONS["ops"] is own


@pytest.mark.slow
def test_a_run_warns_of_a_broken_plug_in_and_goes_on(tmp_path, built):
    site = shutil.copytree(built, tmp_path / "site")
    package(site, "breaks", {"broken": "1 / 0"}, "[unlearnable.poisons]\nmine = broken\n")
    environment = os.environ | {"PYTHONPATH": f"{site}:{ROOT / 'src'}", "DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "poisons", "list"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "chequers" in done.stdout
    assert "of the plug-in breaks is left out" in done.stdout
