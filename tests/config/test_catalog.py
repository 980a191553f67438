"""What the files of a catalog may say, where they lie, and what is told of the rest."""

import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.config.test_recipe import loader
from tests.conftest import ROOT
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.errors import InputError
from unlearnable.settings import CONFIG_LOADER_ARGS

IMAGES = {
    "type": "unlearnable.sources.folder.FolderImages",
    "name": "mine",
    "path": "${param:data_root}/images",
    "filepath": "data/02_intermediate/${dataset:}/decoded",
}


@pytest.fixture
def project(tmp_path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path


def read(project: Path, source: str = "conf", env: str | None = "folder", **parameters) -> RecipeConfigLoader:
    given = {"poison": "none", "data_root": str(project)} | parameters
    return RecipeConfigLoader(str(project / source), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)


def catalog(project: Path, parameters=None, **entries):
    """Return the catalog of an environment with these entries."""
    (project / "conf" / "folder" / "catalog.yml").write_text(yaml.safe_dump({"raw_images": IMAGES} | entries))
    return read(project, **(parameters or {}))["catalog"]


def refusal(project: Path, **entries) -> str:
    with pytest.raises(InputError) as error:
        catalog(project, **entries)
    assert "\n" not in str(error.value)
    return str(error.value)


def images(**changes):
    return {"raw_images": IMAGES | changes}


def without(key: str, **changes):
    return {"raw_images": {name: value for name, value in IMAGES.items() if name != key} | changes}


def test_every_entry_of_the_project_is_asked_for_and_has_its_keys():
    for env in sorted(path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "local"):
        loader(env)["catalog"]


@pytest.mark.parametrize(
    ("name", "near"), [("raw_image", "raw_images"), ("released_poisn", "released_poison"), ("clean-train", "clean_train")]
)
def test_an_entry_that_nothing_asks_for_is_refused(project, name, near):
    line = refusal(project, **{name: IMAGES})
    assert re.fullmatch(rf".*/folder/catalog\.yml: unknown catalog entry '{name}'; known: .* \(did you mean '{near}'\?\)", line)


def test_an_entry_of_base_is_asked_for_too(project):
    file = project / "conf" / "base" / "catalog.yml"
    file.write_text(file.read_text().replace("\nclean_test:", "\nclean_tests:"))
    assert "base/catalog.yml: unknown catalog entry 'clean_tests'" in refusal(project)


def test_templates_are_no_entries(project):
    assert catalog(project, _mine={"any": "thing"})["raw_images"]["name"] == "mine"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (without("name", nam="mine"), "expected 'name', got 'nam'"),
        (without("name"), "expected 'name', got none"),
        (without("type", typ="x"), "expected 'type', got 'typ'"),
        (without("filepath"), "expected 'filepath', got none"),
        (images(sied=3), r"unknown key 'sied'; known: .* \(did you mean 'side'\?\)"),
        (images(type="unlearnable.sources.folder.FolderImage"), r"expected a class of .*'\S+' \(did you mean 'FolderImages'\?\)"),
        (images(type="unlearnable.sources.foldr.FolderImages"), "expected a class of .*: there is no module 'unlearnable.sources.foldr'"),
        *((images(name=name), "expected a name that may be a folder's, got .*") for name in ("../x", "a/b", "", " ", "..", ".", None)),
        ({"raw_images": 3}, "expected a mapping, got 3"),
    ],
)
def test_a_key_that_is_misspelt_or_missing_is_named(project, entries, message):
    assert re.fullmatch(f"catalog entry 'raw_images': {message}", refusal(project, **entries))


@pytest.mark.parametrize("text", ["${param:data_rot}/images", "${param:train.epoch}", "${param:data_root.x}", "/${param:nothing}/x"])
@pytest.mark.parametrize("key", ["path", "filepath"])
def test_a_parameter_that_is_none_is_named(project, key, text):
    name = re.search(r":([\w.]+)", text)[1]
    assert re.match(rf"catalog: 'raw_images\.{key}': unknown parameter '{name}'; known: ", refusal(project, **images(**{key: text})))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${recipe:clean_trian}", r"unknown artifact 'clean_trian'; known: .* \(did you mean 'clean_train'\?\)"),
        ("${place:score}", r"unknown artifact 'score'; known: .* \(did you mean 'scores'\?\)"),
        ("${place:}", r"unknown artifact 'raw_images'; known: .*"),
    ],
)
def test_a_recipe_that_is_none_is_named(project, text, message):
    assert re.fullmatch(rf"catalog: 'raw_images\.filepath': {message}", refusal(project, **images(filepath=f"data/{text}")))


@pytest.mark.parametrize("text", ["${recipe:ingest}", "${_root}"])
def test_the_path_of_images_is_known_before_any_recipe(project, text):
    """Else its bytes would be no part of one, and nobody would know."""
    expected = r"expected a path of \$\{param:…\} and \$\{dataset:\}, got "
    assert re.match(rf"catalog: 'raw_images\.path': {expected}", refusal(project, _root="/x", **images(path=f"{text}/x")))


def test_the_path_of_images_may_name_the_dataset(project):
    (project / "mine" / "cat").mkdir(parents=True)
    first = catalog(project, **images(path="${param:data_root}/${dataset:}"))["clean_train"]["recipe"]
    (project / "mine" / "cat" / "1.png").write_bytes(b"x")
    assert catalog(project, **images(path="${param:data_root}/${dataset:}"))["clean_train"]["recipe"] != first


def test_an_artifact_without_a_path_is_named(project):
    file = project / "conf" / "base" / "catalog.yml"
    file.write_text(file.read_text().replace("  filepath: data/03_primary", "  filpath: data/03_primary", 1))
    with pytest.raises(InputError, match=r"^catalog entry 'clean_train': expected 'filepath', got 'filpath'$"):
        read(project).filepath("clean_train")


def test_a_class_is_found_by_the_name_of_its_old_room(project):
    """Catalogs of users say ``unlearnable.datasets``: recipes and classes are those of the new name."""
    new = catalog(project, **images())
    file = project / "conf" / "base" / "catalog.yml"
    file.write_text(file.read_text().replace("unlearnable.artifacts.", "unlearnable.datasets."))
    old = catalog(project, **images(type="unlearnable.sources.folder.FolderImages"))
    assert old == new
    assert old["scores"]["type"] == "unlearnable.artifacts.reports.JsonDataset"


# ---- places


def test_a_path_may_begin_at_the_home_of_a_user(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project / "home"))
    (project / "home" / "images" / "cat").mkdir(parents=True)
    (project / "home" / "images" / "cat" / "1.png").write_bytes(b"x")
    entries = images(filepath="~/decoded")
    by_home = catalog(project, {"data_root": "~"}, **entries)
    assert by_home["raw_images"]["path"] == str(project / "home" / "images")
    assert by_home["raw_images"]["filepath"] == str(project / "home" / "decoded")
    by_path = catalog(project, {"data_root": str(project / "home")}, **entries)
    assert by_home["clean_train"]["recipe"] == by_path["clean_train"]["recipe"]
    assert by_home["clean_train"]["recipe"] != catalog(project, **entries)["clean_train"]["recipe"]


def test_the_home_of_nobody_is_refused(project):
    line = refusal(project, **images(path="~nobody-of-that-name/x"))
    assert line == "catalog: 'raw_images.path': expected the home of a user, got '~nobody-of-that-name/x', of no known one"


def test_configuration_may_lie_in_an_archive(project):
    with tarfile.open(project / "conf.tar.gz", "w:gz") as archive:  # as kedro package does: without what is the machine's
        archive.add(project / "conf", "conf", filter=lambda member: None if member.name.startswith("conf/local") else member)
    shutil.make_archive(str(project / "zipped"), "zip", project, "conf")
    wanted = read(project, env="test")["parameters"]
    for source in ("conf.tar.gz", "zipped.zip"):
        found = read(project, source, env="test")
        assert found["parameters"] == wanted
        assert found["catalog"] == read(project, env="test")["catalog"]
        assert found["mlflow"]["records"] == "data/09_tracking"
        assert found.credentials() == {}
        with pytest.raises(InputError, match=r"unknown environment 'tets'; known: base, .*, test \(did you mean 'test'\?\)"):
            read(project, source, env="tets")["parameters"]


@pytest.mark.parametrize("name", ["a[b]c", "per%20cent", "que?ry", "all*of"])
def test_configuration_is_found_in_a_project_of_any_name(project, name):
    shutil.copytree(project / "conf", project / name / "conf")
    (project / name / "conf" / "test" / "parameters").mkdir()
    (project / name / "conf" / "test" / "parameters" / "more.yml").write_text("seed: 7\n")
    found = read(project, os.path.join(name, "conf"), env="test")  # noqa: PTH118
    assert found["catalog"].keys() == read(project, env="test")["catalog"].keys()
    assert found["parameters"]["seed"] == 7
