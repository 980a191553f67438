"""What a record says of its run."""

import json
import subprocess

import pytest

from tests.conftest import ROOT
from unlearnable import __version__, origin
from unlearnable.errors import InputError
from unlearnable.tracking.facts import code, dataset, deciding, name, note, start_of, who

PARAMETERS = {
    "dataset": "digits",
    "poison": "ops",
    "recovery": "jpeg",
    "model": "tiny_cnn",
    "seed": 3,
    "threads": None,
    "device": "cpu",
    "data_root": "data/01_raw",
    "audit": {"recovery": "bdr"},
    "craft": {"seed": 7, "ops": {"pixels": 1}, "lsp": {"l2": 2.0}},
    "recover": {"jpeg": {"quality": 10}, "bdr": {"bits": 2}, "cutout": {"size": 8}},
    "train": {"epochs": 2, "augmentation": {"crop": 4}, "milestones": []},
    "probe": {"held_out": 100},
}
CRAFTING = ("params:poison", "params:craft", "params:seed")
TRAINING = ("params:model", "params:train", "params:seed")
RECOVERY = ("params:recovery", "params:recover")
EVERY_RUN = {"dataset": "digits", "threads": "None"}
OPS = {"poison": "ops", "seed": "3", "craft.seed": "7", "craft.ops.pixels": "1"}
TRAIN = {"model": "tiny_cnn", "seed": "3", "train.epochs": "2", "train.augmentation.crop": "4", "train.milestones": "[]"}
JPEG = {"recovery": "jpeg", "recover.jpeg.quality": "10"}


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (["params:ingest"], {}),
        (CRAFTING, OPS),
        (CRAFTING + TRAINING, OPS | TRAIN),
        (TRAINING + RECOVERY, TRAIN | JPEG),
        ((*RECOVERY, "params:audit.recovery"), JPEG | {"audit.recovery": "bdr", "recover.bdr.bits": "2"}),
        (["params:recover.cutout", "params:seed"], {"recover.cutout.size": "8", "seed": "3"}),
        (["params:probe.held_out"], {"probe.held_out": "100"}),
    ],
)
def test_of_all_parameters_those_decide_that_nodes_take(taken, expected):
    assert deciding(PARAMETERS, taken) == EVERY_RUN | expected


@pytest.mark.parametrize(
    ("chain", "taken", "expected"),
    [
        ("ingest", ["params:ingest"], "ingest"),
        ("dfr", CRAFTING + TRAINING, "dfr ops tiny_cnn seed 3"),
        ("recover", CRAFTING + TRAINING + RECOVERY, "recover ops jpeg tiny_cnn seed 3"),
        ("__default__", CRAFTING, "default ops seed 3"),
    ],
)
def test_a_run_is_called_by_its_chain_and_what_it_takes(chain, taken, expected):
    assert name(PARAMETERS, chain, taken) == expected


def test_a_run_of_some_nodes_is_called_by_them():
    run = {"pipeline_names": ["recover"], "env": None, "node_names": ["trainings.train_clean"]}
    assert start_of(PARAMETERS, run, TRAINING, {"clean_train": "0123"}, {})["name"] == "train_clean tiny_cnn seed 3"


def test_a_note_says_in_words_what_was_run_and_what_was_set_for_it():
    run = {"pipeline_names": ["dfr"], "runtime_params": {"poison": "ops", "train": {"epochs": 2}}}
    assert note(PARAMETERS, run, CRAFTING) == (
        "Pipeline **dfr** on the dataset **digits**: poison ops, seed 3.\n\nSet for this run: poison = ops, train.epochs = 2."
    )
    assert note(PARAMETERS, {"pipeline_names": None}, []) == "Pipeline **default** on the dataset **digits**."


def test_a_dataset_says_where_its_bytes_come_from_but_no_place_of_this_machine():
    found = dataset("digits", "0123", {"type": "Digits", "sha256": "ab", "path": "/home/somebody", "credentials": "mine"})
    assert (found["name"], found["digest"]) == ("digits", "0123")
    assert json.loads(found["source"]) == {"type": "Digits", "sha256": "ab"}


def test_a_run_is_tagged_with_who_runs_it_and_what_a_study_adds(monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"unlearnable.study": "small", "cells": 2}')
    monkeypatch.setattr("sys.argv", ["kedro", "run"])
    assert who() == {
        "mlflow.user": "somebody",
        "mlflow.source.name": "kedro",
        "mlflow.source.type": "LOCAL",
        "unlearnable.study": "small",
        "cells": "2",
    }


@pytest.mark.parametrize("said", ["{", "[1]", "3"])
def test_tags_that_are_no_tags_are_refused(monkeypatch, said):
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", said)
    with pytest.raises(InputError) as error:
        start_of(PARAMETERS, {"pipeline_names": None, "env": None}, [], {"clean_train": "0123"}, {})
    assert str(error.value) == f"MLFLOW_RUN_CONTEXT: expected a JSON object of tags, got {said!r}"


def git(folder, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A repository with a folder of source in it, which the package is taken to lie in."""
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "origin.py").write_text("one")
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(origin, "__file__", str(folder / "origin.py"))
    origin.commit.cache_clear()
    yield folder
    origin.commit.cache_clear()


def committed(folder) -> str:
    git(folder, "add", ".")
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message=m")
    return git(folder, "rev-parse", "HEAD")


def test_a_commit_is_that_of_the_source_and_says_whether_it_was_changed(source):
    head = committed(source)
    assert code() == {"unlearnable.version": __version__, "mlflow.source.git.commit": head, "mlflow.source.git.dirty": "false"}
    assert origin.versions()["commit"] == head
    (source / "origin.py").write_text("two")
    origin.commit.cache_clear()
    assert origin.versions()["commit"] == f"{head}-dirty"
    assert code()["mlflow.source.git.dirty"] == "true"


def test_source_that_a_repository_does_not_hold_has_no_commit(source):
    (source.parent / "other").write_text("something else")
    (source.parent / ".gitignore").write_text("src\n")
    committed(source.parent)
    assert "commit" not in origin.versions()
    assert code() == {"unlearnable.version": __version__}


def test_where_git_is_not_there_no_commit_is_known(source, monkeypatch):
    committed(source)
    monkeypatch.setenv("PATH", str(ROOT / "no" / "such"))
    assert origin.commit() is None
