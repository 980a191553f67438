"""Which part of a study has which card, by what a machine would say that has some."""

import shutil

import pytest
import torch
import yaml

from tests.conftest import ROOT
from unlearnable.study import commands
from unlearnable.study.cards import Cards, cards
from unlearnable.study.cells import Part
from unlearnable.study.work import Assignment, Outcome, _environment

STUDY = {"poisons": ["ops"], "recoveries": ["none", "grayscale"], "models": ["tiny_cnn"], "seeds": [0]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a study on two cards, run in a process that sees no user's choice."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "test" / "mlflow.yml").write_text("tracking_uri: null\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(commands, "cores", lambda: 12)
    write(tmp_path)
    return tmp_path


def write(folder, **changed) -> None:
    file = folder / "conf" / "test" / "study" / "asked.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(STUDY | {"parameters": {"device": "auto", "ingest.train_size": 100}} | changed))


def planned(executor="processes", scheduler=None, count=None, threads=None):
    return commands._planned("asked", "test", executor, scheduler, count, threads)


@pytest.mark.parametrize(
    ("visible", "count", "found"),
    [
        (None, 3, ["0", "1", "2"]),
        (None, 0, []),
        ("2, 3", 2, ["2", "3"]),
        ("GPU-5a,GPU-1b", 2, ["GPU-5a", "GPU-1b"]),
        ("1,7", 1, ["1"]),  # CUDA reads it up to the first that there is not
        ("", 0, []),
    ],
)
def test_cards_are_those_that_the_user_lets_see(visible, count, found, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert cards() == found


def test_a_part_has_the_card_that_fewest_others_have():
    shared = Cards(["4", "7"])
    assert [shared.given(key) for key in "abcd"] == ["4", "7", "4", "7"]
    shared.back("b")
    shared.back("d")
    assert [shared.given(key) for key in "ef"] == ["7", "7"]
    assert shared.given("a") == "4"  # tried again
    shared.back("never begun")
    assert Cards([]).given("a") is None


def test_two_runs_share_a_card_unless_somebody_says_otherwise(project):
    _, shift = planned()
    assert (shift.count, shift.cards) == (4, ["0", "1"])
    assert planned()[1].threads == 3
    assert planned(count=5)[1].count == 5
    assert planned(threads=2)[1].threads == 2


def test_a_study_on_the_cpu_and_workers_of_other_machines_have_no_cards(project):
    assert planned(executor="dask", scheduler="tcp://x")[1].cards == []
    write(project, parameters={"device": "cpu"})
    assert planned()[1] == commands.Shift(count=12, threads=1, cards=[])
    write(project, parameters={"device": "cpu"}, overrides={"here": {}, "there": {"device": "auto"}})
    assert planned()[1].cards == ["0", "1"]


def test_each_run_is_told_its_card_and_gives_it_back(project, monkeypatch):
    told, threads = [], set()

    def work_off(parts, team, assign, begin, *, tries):
        for key, part in parts.items():
            told.append(assign(part).card)
            threads.add(assign(part).part.parameters["threads"])
            yield Outcome(key=key)
        told.append([assign(part).card for part in parts.values()])

    monkeypatch.setattr(commands, "work_off", work_off)
    assert commands.run("asked", "test", "processes", None, None, None, tries=1) == 0
    assert told == [*["0"] * 6, ["0", "1"] * 3]
    assert threads == {3}


def test_the_environment_of_a_run_names_its_card_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    part = Part(key="x", label="x", pipeline="", stage="", node=None, parameters={"threads": 1}, paths={}, before=())
    told = {card: _environment(Assignment(part=part, env=None, project=None, card=card), ".") for card in (None, "3")}
    assert {card: environment["CUDA_VISIBLE_DEVICES"] for card, environment in told.items()} == {None: "2,3", "3": "3"}
