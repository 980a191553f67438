"""The chains ``dfr`` and ``separability`` in `--env=test`: what they make, what is made again, and what wrong inputs leave."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.config.test_recipe import loader
from tests.conftest import copy_golden, recorded
from tests.pipelines.test_project import files, newest_scores, run, scores_of
from unlearnable.artifacts.atomic import sidecar, write_new
from unlearnable.cli import run as run_command
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.pipelines.evaluate.scores import score_dfr
from unlearnable.training import Checkpoint

DFR = {"dfr_table", "dfr_scores", "dfr_figure"}
SEPARABILITY = {"perturbation_separability", "separability_scores", "separability_figure"}


@pytest.fixture(scope="module")
def project(golden, tmp_path_factory) -> Path:
    """A project in which both chains have run once."""
    return copy_golden(golden, tmp_path_factory.mktemp("probes") / "project")


def tables(project: Path) -> list[Path]:
    return sorted((project / "data" / "07_model_output").rglob("dfr.parquet/*/dfr.parquet"))


def test_dfr_is_a_part_of_the_cells_scores(project):
    found = scores_of(project, "dfr")
    cell = {"dataset": "digits", "poison": "lsp", "recovery": "orthogonal_projection", "model": "tiny_cnn", "seed": 0}
    assert {name: found[name] for name in cell} == cell
    assert not {"accuracy", "separability"} & set(found)
    assert set(found["dfr"]) == {"plain", "frozen"}
    assert set(found["dfr"]["frozen"]) == {"100"}
    chosen = found["dfr"]["frozen"]["100"]
    assert chosen["last"]["epoch"] == 2
    assert {chosen[name]["epoch"] for name in ("held_out", "optimistic")} <= {1, 2}
    assert chosen["optimistic"]["accuracy"] == max(chosen[name]["accuracy"] for name in ("last", "held_out", "optimistic"))
    assert set(found["seconds"]) == {"probed", "dfr"}


def test_each_choice_of_an_epoch_is_made_by_its_own_images():
    table = pd.DataFrame({"epoch": [0, 1, 2, 3], "test_accuracy": [0.9, 0.6, 0.7, 0.5], "held_out_accuracy": [0.9, 0.8, 0.1, 0.8]})
    table = table.assign(estimator="frozen", clean_samples=20, seconds=2.0)
    history = [{"test_accuracy": value, "seconds": 1.0, "threads": 1} for value in (0.3, 0.4, 0.2)]
    parameters = {"dataset": "digits", "poison": "lsp", "recovery": "none", "model": "small_cnn", "seed": 0}
    found = score_dfr(table, [Checkpoint(epoch=3, epochs=3, state={}, history=history)], **parameters)
    assert found["dfr"]["plain"] == {"last": 0.2, "peak": 0.4}
    assert found["dfr"]["frozen"]["20"] == {
        "control": 0.9,
        "last": {"epoch": 3, "accuracy": 0.5},
        "optimistic": {"epoch": 2, "accuracy": 0.7},
        "held_out": {"epoch": 1, "accuracy": 0.6},
    }
    assert found["seconds"] == {"probed": 3.0, "dfr": 8.0}
    assert found["made_on"] == {"probed": {}}
    on_a_card = Checkpoint(epoch=3, epochs=3, state={}, history=history, made_on={"device": "cuda"})
    assert score_dfr(table, [on_a_card], **parameters)["made_on"] == {"probed": {"device": "cuda"}}


def test_the_table_has_a_row_an_epoch_and_is_what_the_scores_say(project):
    [path] = tables(project)
    rows = pd.read_parquet(path).set_index("epoch")
    found = scores_of(project, "dfr")["dfr"]
    assert list(rows.index) == [0, 1, 2]
    assert rows.loc[0, "test_accuracy"] == found["frozen"]["100"]["control"]
    assert rows.loc[2, "test_accuracy"] == found["frozen"]["100"]["last"]["accuracy"]
    assert rows.loc[2, "plain_accuracy"] == found["plain"]["last"]
    assert set(rows["estimator"]) == {"frozen"}


def test_every_checkpoint_is_kept_for_the_probe_and_nothing_else_of_the_training(project):
    [folder] = (project / loader("test").filepath("probed_checkpoints")).glob("*/checkpoints")
    assert {path.name for path in folder.glob("*.safetensors")} == {"epoch-0001.safetensors", "epoch-0002.last.safetensors"}


def test_separability_is_a_part_of_the_cells_scores(project):
    found = scores_of(project, "separability")["separability"]
    assert set(found) == {"perturbations", "clean"}
    for subject in found.values():
        assert set(subject) == {"images", "models", "class_means", "filters"}
        assert set(subject["models"]) == {"linear", "linear_converged", "tanh_1", "tanh_2"}
        assert all("curve" not in fit for fit in subject["models"].values())
    assert found["perturbations"]["models"]["linear"]["train_accuracy"] == 1.0
    assert found["clean"]["models"]["linear"]["train_accuracy"] < 1.0


def test_a_changed_setting_makes_what_it_decides_and_nothing_else(project):
    """What else each setting decides is in the recipes, which tests/config walks through."""
    changed = {"clean_samples": [20, 100], "estimators": ["frozen", "recalibrated"]}
    assert run(project, pipeline=["dfr", "separability"], probe=changed) == DFR
    assert set(newest_scores(project)["dfr"]["recalibrated"]) == {"20", "100"}
    assert run(project, pipeline=["dfr", "separability"], probe={"train": {"epochs": 1}}) == DFR | {"probed_checkpoints"}
    assert newest_scores(project)["dfr"]["frozen"]["100"]["last"]["epoch"] == 1
    assert run(project, pipeline="separability", recovery="none") == SEPARABILITY - {"perturbation_separability"}


def test_learnability_is_asked_of_the_training_that_is_there(project):
    assert run(project, pipeline="learnability") == {"learnability", "learnability_scores"}
    found, trained = scores_of(project, "learnability"), scores_of(project, "accuracy")
    assert found["learnability"]["plain_accuracy"] == trained["accuracy"]["poisoned"]["last"]
    assert found["learnability"]["bounds"] == {"0.01": None, "0.05": None, "0.1": None}
    assert (found["learnability"]["draws"], set(found["seconds"])) == (3, {"poisoned", "learnability"})
    assert run(project, pipeline="learnability", learnability={"quantile": 0.1}) == {"learnability", "learnability_scores"}
    bounds = newest_scores(project)["learnability"]["bounds"].values()
    assert all(0 <= bound <= 1 for bound in bounds)


def test_the_default_pipeline_is_all_chains():
    pipelines = register_pipelines()
    chains = [pipelines[name] for name in ("orthoproj", "dfr", "separability")]
    assert {node.name for node in pipelines["__default__"].nodes} == {node.name for chain in chains for node in chain.nodes}


def kedro_run(project: Path, monkeypatch, *arguments: str):
    monkeypatch.chdir(project)
    return CliRunner().invoke(run_command, ["--env=test", "--only-missing-outputs", *arguments])


def test_too_many_clean_samples_are_said_before_any_training(project, monkeypatch):
    before = files(project)
    result = kedro_run(project, monkeypatch, "--pipeline=dfr", "--params=probe.clean_samples=251,seed=3")
    assert result.exit_code == 1, result.output
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "probe.clean_samples: expected at most 250, as 50 of 300 training images are held out, got 251" in line
    assert files(project) == before
    assert recorded(project)[-1].status == "FAILED"


def test_a_list_of_counts_may_be_given_on_the_command_line(project, monkeypatch):
    result = kedro_run(project, monkeypatch, "--pipeline=dfr", "--params=probe.clean_samples=[30,60],seed=13, probe.epochs=[2]")
    assert result.exit_code == 0, result.output
    found = newest_scores(project)
    assert (found["seed"], set(found["dfr"]["frozen"])) == (13, {"30", "60"})


@pytest.fixture
def probed(project) -> Path:
    """The first checkpoint of a training that was probed, all of whose outputs but the table are there."""
    found = loader("test", seed=11, poison="none")
    shutil.rmtree(project / found.filepath("probed_checkpoints"), ignore_errors=True)
    run(project, pipeline="dfr", seed=11, poison="none")
    [folder] = (project / found.filepath("probed_checkpoints")).glob("*/checkpoints")
    shutil.rmtree(project / found.filepath("dfr_table"))
    return folder / "epoch-0001.safetensors"


def test_a_damaged_checkpoint_is_one_line_and_the_next_run_makes_it_anew(probed, project, monkeypatch):
    content = probed.read_bytes()
    probed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = kedro_run(project, monkeypatch, "--pipeline=dfr", "--params=seed=11,poison=none")
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "expected the checkpoints of a whole training, got 0 that are good" in line
    result = kedro_run(project, monkeypatch, "--pipeline=dfr", "--params=seed=11,poison=none")
    assert result.exit_code == 0, result.output


def test_a_checkpoint_of_another_recipe_is_one_line(probed, project, monkeypatch):
    content = probed.read_bytes()
    recipe = content[content.index(b'"recipe":"') + 10 :][:12]
    probed.unlink()
    sidecar(probed).unlink()
    write_new(probed, content.replace(recipe, b"0123456789ab"))
    result = kedro_run(project, monkeypatch, "--pipeline=dfr", "--params=seed=11,poison=none")
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert f"expected an artifact of recipe {recipe.decode()}, got 0123456789ab" in line


def test_a_poison_in_another_order_is_one_line(project, monkeypatch):
    from unlearnable.artifacts.tensors import ImagesDataset

    run(project, pipeline="craft_poison", poison="regions_4", seed=12)
    path = max((project / "data" / "05_model_input" / "digits" / "regions_4").rglob("poisoned_train.safetensors"), key=os.path.getmtime)
    path = path if path.is_file() else next(file for file in path.rglob("*.safetensors") if file.is_file())
    content = path.read_bytes()
    dataset = ImagesDataset(filepath=str(path), recipe=path.parents[2].name)
    images, _ = dataset.decode(content)
    moved = dataset.encode(type(images)(images=images.images[::-1], labels=images.labels, num_classes=10, ids=images.ids))
    path.unlink()
    sidecar(path).unlink()
    write_new(path, moved)
    result = kedro_run(project, monkeypatch, "--pipeline=separability", "--params=poison=regions_4,seed=12")
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "perturbations: expected poisoned images in the order of the clean ones" in line
