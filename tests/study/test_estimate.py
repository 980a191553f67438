"""How long a study may take, by a journal that somebody else has written."""

import shutil

import pytest
import yaml

from tests.conftest import ROOT
from unlearnable.study.estimate import estimate
from unlearnable.study.journal import Journal
from unlearnable.study.plan import Plan, plan
from unlearnable.study.work import Outcome

STUDY = {
    "poisons": ["ops", "lsp"],
    "recoveries": ["none", "adversarial_training"],
    "models": ["tiny_cnn"],
    "seeds": [0, 1],
    "parameters": {"recover.adversarial_training.steps": 3},
}


@pytest.fixture
def found(tmp_path, monkeypatch) -> Plan:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "test" / "mlflow.yml").write_text("tracking_uri: null\n")
    file = tmp_path / "conf" / "test" / "study" / "asked.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(STUDY))
    monkeypatch.chdir(tmp_path)
    return plan("asked", project=tmp_path, env="test")


def note(found: Plan, **seconds: float) -> None:
    """Note that the first part of each stage took so long."""
    journal = Journal(found.journal)
    for stage, took in seconds.items():
        key = next(key for key, part in found.grid.parts.items() if part.stage == stage)
        journal.end(Outcome(key=key, seconds=took))
    journal.close("FINISHED")


def test_of_a_study_that_never_ran_nothing_is_known(found):
    parts = found.grid.needed(set())
    told = estimate(found, parts, 2)
    assert set(told.unknown) == {part.label for part in parts.values()}
    assert str(told) == "how long they take is known once some are made"


def test_parts_take_the_median_of_their_kind_and_a_recovery_its_passes(found):
    """Two clean trainings, one a seed; two poisons by two seeds are four cells with one step of training and three of search."""
    parts = found.grid.needed(set())
    note(found, select_images=5.0)
    note(found, train_clean=40.0)
    told = estimate(found, parts, 2)
    images = sum(part.stage == "select_images" for part in parts.values())
    assert told.seconds == images * 5 + 2 * 40 + 4 * 40 * (1 + 3)
    assert not any("adversarial" in label for label in told.unknown)
    assert str(told).startswith("about ")
    assert "of which nothing is known yet" in str(told)


def test_what_was_measured_counts_before_passes(found):
    parts = found.grid.needed(set())
    note(found, train_clean=40.0)
    before = estimate(found, parts, 1).seconds
    journal = Journal(found.journal)
    key = next(key for key, part in parts.items() if "adversarial_training" in part.label)
    for seconds in (70.0, 100.0):
        journal.end(Outcome(key=key, seconds=seconds))
    journal.close("FINISHED")
    assert estimate(found, parts, 1).seconds == before - 4 * 160 + 4 * 100
