"""What is released, what is locked, what stays out of git, and where servers listen."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from unlearnable.__main__ import main

BIN = Path(sys.executable).parent
LOCKS = ("requirements.lock", "requirements-uv.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
NOT_COPIED = (".git", ".venv", "data", "dist", "build", "mlartifacts", "*.egg-info", "__pycache__", ".*_cache", "mlflow.db*")


def made(target: str, folder: Path, *options: str) -> str:
    """Return what ``make`` says, with the environment that runs the tests in place of ``.venv``."""
    command = ["make", *options, "-o", ".venv/installed", f"BIN={shlex.quote(str(BIN))}", target]  # its folder may have a blank
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout of the working tree."""
    folder = tmp_path_factory.mktemp("release") / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (folder / "conf" / "local" / "credentials.yml").write_text("secret: 1\n")
    who = ("-c", "user.name=tests", "-c", "user.email=tests@example.invalid")
    for arguments in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message=tests", "--date=2026-01-01")):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def dist(checkout) -> Path:
    made("release", checkout)
    return checkout / "dist"


def hashes(dist: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir() if path.suffix in (".whl", ".json", ".gz")}


def test_a_release_has_its_four_parts(dist):
    version = re.search(r'"(.+)"', (ROOT / "src" / "unlearnable" / "__init__.py").read_text().split("__version__")[1])[1]
    assert set(hashes(dist)) == {f"unlearnable-{version}-py3-none-any.whl", f"unlearnable-{version}.tar.gz", "conf.tar.gz", "sbom.cdx.json"}


def test_the_wheel_has_every_module_and_names_what_it_needs(dist):
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [about] = [message_from_bytes(archive.read(name)) for name in names if name.endswith("/METADATA")]
    files = [path for path in (ROOT / "src" / "unlearnable").rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert {name for name in names if name.startswith("unlearnable/")} == {str(path.relative_to(ROOT / "src")) for path in files}
    extras = [f'{need}; extra == "{extra}"' for extra, needs in EXTRAS.items() for need in needs]
    assert {Requirement(need) for need in about.get_all("Requires-Dist")} == {
        Requirement(need) for need in (*PROJECT["project"]["dependencies"], *extras)
    }


def test_the_wheel_has_a_command_and_types(dist):
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [told] = [archive.read(name).decode() for name in names if name.endswith("/entry_points.txt")]
    assert "unlearnable/py.typed" in names
    [command] = re.findall(r"^unlearnable = (.*)$", told, re.MULTILINE)
    assert EntryPoint(name="unlearnable", value=command, group="console_scripts").load() is main


def test_the_command_says_in_a_line_that_kedro_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "kedro", None)
    with pytest.raises(SystemExit, match=r"^unlearnable: expected the packages of its extra 'pipeline', got no kedro: pip install [^\n]*$"):
        main()


def test_the_wheel_and_the_configuration_run_without_the_checkout(dist, tmp_path):
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")  # built above  # noqa: S202
    subprocess.run(["tar", "--extract", "--file", dist / "conf.tar.gz", "--directory", tmp_path], check=True)  # Python 3.11.2 has no filter
    command = [sys.executable, "-P", "-m", "unlearnable", "--conf-source=conf", "--env=test", "--pipeline=ingest"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "data" / "03_primary").rglob("clean_train.safetensors/*/clean_train.safetensors"))


SMALLER = {
    "train_size=6000, test_size=1000": "train_size=200, test_size=60",
    '"epochs": 7': '"epochs": 2',
    "=1000))": "=100, held_out=50))",
}
BESIDE = """
import sys
assert set(trained) == {"clean", "poisoned", "recovered"} and all(0 < each.accuracy < 1 for each in trained.values())
assert unlearnable.__file__.startswith(sys.argv[1]), unlearnable.__file__
assert not {"mlflow", "omegaconf", "kedro.framework.session", "pydantic"} & set(sys.modules)
"""


def test_the_lines_of_the_readme_run_from_the_wheel_alone(dist, tmp_path):
    """On fewer images, with no configuration beside it; the built-in images bring Kedro's class of datasets and nothing else of it."""
    [lines] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for before, after in SMALLER.items():
        assert lines.count(before) == 1
        lines = lines.replace(before, after)
    [wheel] = dist.glob("*.whl")
    environment = {**os.environ, "PYTHONPATH": str(wheel), "OMP_NUM_THREADS": "1"}  # a wheel is an archive that modules are imported from
    command = [sys.executable, "-P", "-c", lines + BESIDE, str(wheel)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1.0"  # the perturbation is linearly separable by construction


def test_nothing_local_is_released(dist):
    for archive in dist.glob("*.tar.gz"):
        with tarfile.open(archive) as content:
            names = content.getnames()
        assert not [name for name in names if "credentials" in name or "/data/" in name]
    with tarfile.open(dist / "conf.tar.gz") as content:
        assert "conf/base/catalog.yml" in content.getnames()


def test_the_list_of_parts_is_the_lock(dist):
    found = json.loads((dist / "sbom.cdx.json").read_text())
    assert found["bomFormat"] == "CycloneDX"
    assert found["metadata"]["component"]["name"] == "unlearnable"
    assert {(part["name"], part["version"]) for part in found["components"]} == {
        (name, version) for name, version, _ in locked("requirements.lock")
    }
    assert all(part["externalReferences"][0]["hashes"] for part in found["components"])


@pytest.mark.slow
def test_a_release_is_the_same_bytes_again(dist, checkout):
    before = hashes(dist)
    made("release", checkout)
    after = hashes(dist)
    assert {name for name in before if before[name] != after[name]} <= {
        name for name in before if name.startswith("unlearnable-") and name.endswith(".tar.gz")
    }


# ---- the lock


def locked(name: str) -> list[tuple[str, str, str]]:
    """Return name, version and the rest of the entry of each package of a lock."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = [re.match(r"([A-Za-z0-9._-]+)==(\S+)(.*)", line) for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all(found)
    return [match.groups() for match in found if match]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_the_lock_has_a_hash_and_none_a_host(name):
    for package, _, rest in locked(name):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", rest), package
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text


def test_the_lock_has_what_the_project_asks_for():
    versions = {canonicalize_name(name): version for name, version, _ in locked("requirements.lock")}
    asked_by = (PROJECT["project"]["dependencies"], PROJECT["dependency-groups"]["dev"], *EXTRAS.values())
    asked = [Requirement(need) for needs in asked_by for need in needs]
    assert [
        str(need) for need in asked if not need.specifier.contains(versions.get(canonicalize_name(need.name), ""), prereleases=True)
    ] == []
    assert ("uv", versions["uv"]) in {(name, version) for name, version, _ in locked("requirements-uv.lock")}


def test_the_environment_is_set_up_with_hashes():
    for line in ("pip install", "pip sync"):
        [command] = [found for found in (ROOT / "Makefile").read_text().splitlines() if line in found]
        assert "--require-hashes" in command


# ---- what stays here


@pytest.mark.parametrize("name", ["conf/local/credentials.yml", "conf/local/mlflow.yml", "data/01_raw/x.pkl", "mlflow.db", "dist/x.whl"])
def test_what_is_local_is_ignored_by_git(name, checkout):
    assert subprocess.run(["git", "check-ignore", "--quiet", name], cwd=checkout, check=False).returncode == 0
    assert subprocess.run(["git", "check-ignore", "--quiet", "conf/base/catalog.yml"], cwd=checkout, check=False).returncode == 1


@pytest.mark.parametrize("target", ["mlflow", "viz"])
def test_servers_listen_on_this_machine_alone(target):
    command = made(target, ROOT, "--dry-run")
    assert "--host 127.0.0.1" in command
    assert "0.0.0.0" not in command  # noqa: S104


def test_the_tracking_server_unpickles_nothing():
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false" in made("mlflow", ROOT, "--dry-run")
