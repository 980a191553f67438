"""The chain ``recover`` in `--env=test`."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import copy_golden, make_images
from tests.pipelines.test_project import files, newest_scores, run
from unlearnable import training
from unlearnable.pipelines.evaluate.scores import score, tabulate
from unlearnable.pipelines.train_poisoned.nodes import UNFINISHED, train
from unlearnable.recoveries import recover
from unlearnable.training.device import choose_device

MADE = {"recovered_train", "recovered_checkpoints", "history", "scores", "accuracy_figure", "examples_figure"}


@pytest.fixture(scope="module")
def project(golden, tmp_path_factory) -> Path:
    """A project in which the main job has run once."""
    return copy_golden(golden, tmp_path_factory.mktemp("recover") / "project")


def test_early_stopping_says_which_epoch_it_took(project):
    assert run(project, pipeline="recover", recovery="early_stopping") == MADE
    found = newest_scores(project)
    [path] = (project / "data" / "08_reporting" / "digits" / "lsp" / "early_stopping").rglob("history.parquet/*/history.parquet")
    rows = pd.read_parquet(path).query("training == 'recovered'").set_index("epoch")
    chosen = found["accuracy"]["recovered"]["held_out"]
    assert chosen["accuracy"] == rows["test_accuracy"][chosen["epoch"]]
    assert rows["held_out_accuracy"][chosen["epoch"]] == rows["held_out_accuracy"].max()
    assert "held_out" not in found["accuracy"]["poisoned"]


def test_a_second_run_of_a_recovery_makes_nothing(project):
    before = files(project)
    assert run(project, pipeline="recover", recovery="early_stopping") == set()
    assert files(project) == before


def test_with_no_recovery_nothing_is_trained_again(project):
    assert run(project, pipeline="recover", recovery="none") == MADE - {"recovered_checkpoints"}
    accuracy = newest_scores(project)["accuracy"]
    assert accuracy["recovered"] == accuracy["poisoned"]
    assert "likeness" not in newest_scores(project)


@pytest.mark.parametrize(("poison", "trainings"), [("lsp", 2), ("none", 1)])
def test_what_has_one_recipe_is_trained_once(project, monkeypatch, poison, trainings):
    epochs, real = [], training.Trainer.epoch
    monkeypatch.setattr(training.Trainer, "epoch", lambda self, *rest: epochs.append(self) or real(self, *rest))
    run(project, pipeline="recover", recovery="none", poison=poison, seed=trainings)
    assert len(set(epochs)) == trainings
    found = newest_scores(project)
    assert found["accuracy"]["recovered"] == found["accuracy"]["poisoned"]
    assert (found["accuracy"]["poisoned"] == found["accuracy"]["clean"]) == (poison == "none")


def test_the_recovery_changes_the_training_and_what_is_tested(monkeypatch):
    images, clean, unfinished = make_images(64, classes=4), make_images(64, classes=4, seed=1), []
    settings = {"orthogonal_projection": {"project_test": True}, "cutout": {"side": 0.5}}
    seen = {}

    def fit_named(name, train_set, test, **others):
        seen.update(test=test, **others)
        return iter(())

    monkeypatch.setattr(training, "fit_named", fit_named)
    for name, chosen in settings.items():
        recovered = recover(name, images, seed=0, device=choose_device("cpu"), settings=chosen)
        recipe = {"epochs": 1, "batch_size": 16, "learning_rate": 0.1}
        recipe[UNFINISHED] = lambda here: unfinished
        list(train(recovered, clean, images, "small_cnn", recipe, 0, "cpu", name, settings, label="recovered"))
        assert seen["test"].projection is recovered.projection
        assert (seen["like"], seen["done"]) == (clean, unfinished)
        assert (seen["method"].loss is training.plain_loss) == (name == "orthogonal_projection")


def test_the_first_of_equals_is_chosen_on_held_out_images():
    rows = [{"test_accuracy": t, "held_out_accuracy": h, "seconds": 1.0, "threads": 1.0} for t, h in ((0.5, 0.1), (0.2, 0.8), (0.6, 0.8))]
    images = make_images(8, classes=4)
    cell = {"dataset": "x", "poison": "none", "recovery": "early_stopping", "model": "small_cnn", "seed": 0}
    noted, plain = ([training.Checkpoint(epoch=3, epochs=3, state={}, history=rows, made_on=facts)] for facts in ({"device": "cuda"}, {}))
    found = score(tabulate(clean=noted, recovered=plain), images, images, images, **cell)
    assert found["made_on"] == {"clean": {"device": "cuda"}, "recovered": {}}
    found = score(tabulate(recovered=plain), images, images, images, **cell)  # as tables were before
    assert found["made_on"] == {"recovered": {}}
    assert json.loads(json.dumps(found["accuracy"])) == {"recovered": {"last": 0.6, "peak": 0.6, "held_out": {"epoch": 2, "accuracy": 0.2}}}
