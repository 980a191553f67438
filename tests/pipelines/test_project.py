"""The whole project in `--env=test`: what a run makes, what a second run makes, and what a wrong input leaves."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline
from kedro.runner import ThreadRunner
from safetensors.torch import load_file

from tests.config.test_recipe import loader
from tests.conftest import ROOT, copy_golden, make_images, recorded
from tests.sources.cifar import write_cifar10
from unlearnable.cli import run as run_command
from unlearnable.hooks import CheckHooks
from unlearnable.images import LabelledImages
from unlearnable.models import build
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.pipelines.craft_poison.nodes import craft
from unlearnable.poisons import POISONS
from unlearnable.recoveries import LinearWeights
from unlearnable.reporting.cell import directions_figure, examples_figure, separability_figure
from unlearnable.training.device import made_on

MADE_BY = {
    "ingest": {"clean_train", "clean_test"},
    "craft": {"poisoned_train"},
    "project": {"linear_weights", "removed_directions", "recovered_train"},
    "train": {"clean_checkpoints", "poisoned_checkpoints", "recovered_checkpoints"},
    "evaluate": {"scores", "history", "accuracy_figure", "directions_figure", "examples_figure"},
}


@pytest.fixture(scope="module")
def project(golden, tmp_path_factory) -> Path:
    """A project in which every chain has run once."""
    return copy_golden(golden, tmp_path_factory.mktemp("with a blank") / "project")


CELL = {"dataset": "set", "poison": "lsp", "recovery": "jpeg", "model": "net", "seed": 3}


def run(project: Path, *, pipeline: str | list[str] = "orthoproj", env="test", **parameters) -> set[str]:
    """Run pipelines where outputs are missing; return the names of the datasets that were saved."""
    saved: set[str] = set()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg.startswith("Saving data to"):
                saved.add(str(record.args[0]).removeprefix("[dark_orange]").removesuffix("[/dark_orange]"))

    logger = logging.getLogger("kedro.io.data_catalog")
    listener, level = Listener(), logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        with KedroSession.create(project, env=env, runtime_params=parameters) as session:
            session.run(pipeline_names=[pipeline] if isinstance(pipeline, str) else pipeline, only_missing_outputs=True)
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
    return saved


def files(project: Path) -> set[Path]:
    """What runs made; each also records itself."""
    return {path for path in (project / "data").rglob("*") if path.is_file() and "09_tracking" not in path.parts}


def all_scores(project: Path) -> list[dict]:
    paths = (project / "data" / "08_reporting").rglob("scores.json/*/scores.json")
    return [json.loads(path.read_text()) for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)]


def newest_scores(project: Path) -> dict:
    return all_scores(project)[-1]


def scores_of(project: Path, part: str) -> dict:
    """Return the first scores that hold this part."""
    return next(scores for scores in all_scores(project) if part in scores)


def test_the_main_job_writes_scores(project):
    scores = scores_of(project, "accuracy")
    cell = {"dataset": "digits", "poison": "lsp", "recovery": "orthogonal_projection", "model": "tiny_cnn", "seed": 0}
    assert {name: scores[name] for name in cell} == cell
    assert set(scores["accuracy"]) == {"clean", "poisoned", "recovered"}
    for accuracy in scores["accuracy"].values():
        assert 0 <= accuracy["last"] <= accuracy["peak"] <= 1
    assert scores["projection"]["removed_directions"] == 10
    assert 0 < scores["projection"]["captured_energy"] <= 1
    assert set(scores["likeness"]) == {"poisoned", "recovered"}
    assert set(scores["seconds"]) == {"recovery", *scores["accuracy"]}
    assert {"python", "torch", "kedro"} <= set(scores["versions"])
    here = made_on(torch.device("cpu"), "float32")
    assert scores["made_on"] == dict.fromkeys(scores["accuracy"], here | {"precision": scores["made_on"]["clean"]["precision"]})
    assert len(scores["recipe_hash"]) == 12
    assert "dfr" not in scores


def test_each_training_is_of_its_own_set(project):
    [path] = (project / "data" / "08_reporting").rglob("history.parquet/*/history.parquet")
    losses = pd.read_parquet(path).groupby("training")["loss"].first()
    assert losses.nunique() == 3
    trainings = {node.name.removeprefix("trainings.train_"): set(node.inputs) for node in register_pipelines()["train_poisoned"].nodes}
    for label in ("clean", "poisoned", "recovered"):
        assert f"{label}_train" in trainings[label]
    assert all("poisoned_train" not in trainings[label] for label in ("clean", "recovered"))


def test_no_pickle_is_written(project):
    assert {path.suffix for path in files(project)} == {".safetensors", ".json", ".parquet", ".png", ".sha256"}


def test_a_second_run_makes_nothing_and_shows_the_table(project, capsys):
    before = files(project)
    assert run(project, pipeline=["orthoproj", "dfr", "separability"]) == set()
    assert files(project) == before
    printed = capsys.readouterr().out
    for line in (
        "Accuracy on the clean test set",
        "Deep feature reweighting",
        "Separability",
        "accuracy.png",
        "dfr.png",
        "separability.png",
    ):
        assert line in printed
    assert f"{scores_of(project, 'dfr')['dfr']['frozen']['100']['control']:.1%}" in printed


def test_a_changed_parameter_makes_what_it_decides_and_keeps_the_rest(project):
    before = files(project)
    assert run(project, train={"epochs": 1}) == MADE_BY["train"] | MADE_BY["evaluate"]
    assert run(project, train={"epochs": 1}, craft={"lsp": {"l2": 2.5}}) == (
        MADE_BY["craft"] | MADE_BY["project"] | MADE_BY["train"] - {"clean_checkpoints"} | MADE_BY["evaluate"]
    )
    assert run(project, train={"epochs": 1}, recover={"orthogonal_projection": {"centred": True}}) == (
        MADE_BY["project"] | {"recovered_checkpoints"} | MADE_BY["evaluate"]
    )
    assert run(project, device="cpu", threads=1) == set()
    assert before < files(project)


def test_controls_are_rows(project):
    run(project, pipeline="recover", poison="none", recovery="none", train={"epochs": 1})
    scores = newest_scores(project)
    assert scores["accuracy"]["clean"] == scores["accuracy"]["poisoned"] == scores["accuracy"]["recovered"]
    assert "projection" not in scores


def test_another_poison_runs_to_the_table(project):
    run(project, poison="cuda", train={"epochs": 1})  # lsp is the rest of this file
    assert newest_scores(project)["poison"] == "cuda"


@pytest.fixture(scope="module")
def clean() -> LabelledImages:
    return make_images(60, classes=10, side=32)


@pytest.mark.parametrize("poison", POISONS)
def test_every_poison_is_crafted_by_its_block(clean, poison):
    settings = loader("test")["parameters"]["craft"]
    poisoned = craft(clean, poison, settings, device="cpu")
    assert np.array_equal(poisoned.images, clean.images) == (poison == "none")


def test_every_round_of_a_surrogate_is_recorded(project):
    run(project, pipeline="craft_poison", poison="em_classwise", seed=7)
    events = recorded(project)[-1].events["crafting"]
    assert (events[0]["name"], events[0]["params"]["craft.seed"], events[-1]["status"]) == ("craft-em_classwise", "7", "FINISHED")
    assert [step for step, _ in recorded(project)[-1].metrics("crafting", "train_error")] == [1, 2]


def test_cells_of_two_seeds_may_share_one_poison(project):
    assert "poisoned_train" in run(project, pipeline="craft_poison", seed=8, craft={"seed": 3})
    assert run(project, pipeline="craft_poison", seed=9, craft={"seed": 3}) == set()


def test_a_poison_may_have_a_seed_of_its_own():
    images = make_images(30, classes=3)
    found = [loader("test", poison="classwise_random", seed=seed, craft={"seed": 3})["parameters"]["craft"] for seed in (8, 9)]
    one, other = (craft(images, "classwise_random", settings, device="cpu") for settings in found)
    assert np.array_equal(one.images, other.images)


def test_threads_are_those_that_were_asked_for():
    class Catalog:
        def load(self, name):
            return loader("test", threads=2)[name]

    try:
        CheckHooks().before_pipeline_run(pipeline=Pipeline([]), catalog=Catalog())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_cell_is_one_run_with_a_child_for_each_training(golden):
    """In MLflow, which got it from the record."""
    mlflow.set_tracking_uri(f"sqlite:///{golden / 'mlflow.db'}")
    found = mlflow.search_runs(experiment_names=["unlearnable"])
    [cell] = [run for _, run in found[found["tags.mlflow.parentRunId"].isna()].iterrows()]
    children = found[found["tags.mlflow.parentRunId"] == cell["run_id"]]
    assert cell["tags.mlflow.runName"] == "orthoproj,dfr,separability lsp orthogonal_projection tiny_cnn seed 0"
    trainings = {"clean", "poisoned", "recovered", "probed"}
    assert set(children["tags.mlflow.runName"]) == {"craft-lsp", "probe-checkpoints", *(f"train-{name}" for name in trainings)}
    trained = children[children["params.training"].notna()]
    assert set(trained["params.training"]) == trainings
    assert {cell["status"], *children["status"]} == {"FINISHED"}
    assert cell["params.train.augmentation.crop"] == "4"
    assert set(trained["params.train.epochs"]) == {"2"}
    assert set(trained["tags.made_on.device"]) == {"cpu"}
    assert set(trained["tags.made_on.torch"]) == {torch.__version__}
    client = mlflow.MlflowClient()
    for run_id in trained["run_id"]:
        for metric in ("loss", "test_accuracy", "learning_rate", "images_per_second"):
            assert [m.step for m in client.get_metric_history(run_id, metric)] == [1, 2]
    shown = {file.path for file in client.list_artifacts(cell["run_id"])}
    assert shown >= {"scores.json", "accuracy.png", "directions.png", "examples.png", "dfr_scores.json", "dfr.png", "dfr.parquet"}
    assert cell["metrics.dfr.frozen.100.control"] == scores_of(golden, "dfr")["dfr"]["frozen"]["100"]["control"]
    [probing] = children.loc[children["tags.mlflow.runName"] == "probe-checkpoints", "run_id"]
    [table] = (golden / "data" / "07_model_output").rglob("dfr.parquet/*/dfr.parquet")
    rows = pd.read_parquet(table)
    for name, column in (("frozen.100.test_accuracy", "test_accuracy"), ("plain_accuracy", "plain_accuracy")):
        history = client.get_metric_history(probing, name)
        assert [(metric.step, metric.value) for metric in history] == list(zip(rows["epoch"], rows[column], strict=True))


def test_two_runs_that_differ_in_one_parameter_show_just_that(golden, tmp_path):
    project = copy_golden(golden, tmp_path / "project")
    run(project, pipeline="ingest", ingest={"subset_seed": 1})
    first, *_, other = (run.params for run in recorded(project))
    assert other == {"dataset": "digits", "threads": "1", **{name: value for name, value in other.items() if name.startswith("ingest.")}}
    assert {name: (first[name], value) for name, value in other.items() if first[name] != value} == {"ingest.subset_seed": ("0", "1")}


def test_the_last_weights_of_a_training_are_a_model_that_says_how_to_load_it(golden, tmp_path):
    """What MLflow hands out, loaded as its description says, is as accurate on the test images as the training measured."""
    mlflow.set_tracking_uri(f"sqlite:///{golden / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("unlearnable").experiment_id
    found = mlflow.search_logged_models(experiment_ids=[experiment], output_format="list")
    assert sorted(model.name for model in found) == [f"{label}-tiny_cnn" for label in ("clean", "poisoned", "probed", "recovered")]
    [path] = (golden / "data" / "03_primary").rglob("clean_test.safetensors/*/clean_test.safetensors")
    test = load_file(path)
    for model in found:
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(tmp_path / model.name)))
        about = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["unlearnable"]
        network = build(about["model"], shape=tuple(about["shape"]), num_classes=about["num_classes"], seed=0).eval()
        network.load_state_dict(load_file(folder / about["weights"]))
        mean, deviation = (torch.tensor(about[name], dtype=torch.float32).view(1, -1, 1, 1) for name in ("mean", "deviation"))
        with torch.inference_mode():
            right = network((test["images"] / 255 - mean) / deviation).argmax(1) == test["labels"]
        assert right.float().mean().item() == pytest.approx(
            mlflow.get_run(model.source_run_id).data.metrics["test_accuracy"], abs=0.02
        )  # of bfloat16
        assert "load_state_dict" in model.tags["mlflow.note.content"]


def test_cifar10_is_the_same_job_on_another_entry(project, tmp_path):
    root = tmp_path / "downloads"
    _, md5 = write_cifar10(root, per_batch=20)
    conf = shutil.copytree(project / "conf", tmp_path / "conf")
    entry = yaml.safe_load((conf / "cifar10" / "catalog.yml").read_text())
    entry["raw_images"]["md5"] = md5
    (conf / "cifar10" / "catalog.yml").write_text(yaml.safe_dump(entry))
    parameters = {
        "data_root": str(root),
        "threads": 1,
        "ingest": {"train_size": 60, "test_size": 20},
        "train": {"epochs": 2, "batch_size": 20},
    }
    with KedroSession.create(project, env="cifar10", conf_source=str(conf), runtime_params=parameters) as session:
        session.run(pipeline_names=["orthoproj"])
    scores = newest_scores(project)
    assert scores["dataset"] == "cifar10"
    assert set(scores["accuracy"]) == {"clean", "poisoned", "recovered"}


MACHINE_AND_DATA = {  # wrong for this machine, or for this dataset
    "gpu": (["--params=device=cuda"], "device: expected a CUDA GPU"),
    "missing folder": (["--env=cifar10", "--params=data_root=DOWNLOADS,ingest.train_size=10"], "expected the file"),
    "too many images": (["--params=ingest.train_size=301"], "subset: expected at most 300 images, got size 301"),
    "batch": (["--params=train.batch_size=301"], "train.batch_size: expected at most 300, the images of the training set, got 301"),
    "patches": (["--params=craft.lsp.patches=3,seed=4"], "craft.lsp.patches: expected a divisor of 32 and 32, got 3"),
    "directions": (
        ["--params=recover.orthogonal_projection.directions=4000"],
        "recover.orthogonal_projection.directions: expected at most 3072, the numbers of an image, got 4000",
    ),
}


@pytest.mark.parametrize("case", MACHINE_AND_DATA)
def test_what_the_machine_or_the_data_lack_is_told_before_any_training(case, project, tmp_path, monkeypatch):
    arguments, message = MACHINE_AND_DATA[case]
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before, runs_before = files(project), len(recorded(project))
    result = command(project, monkeypatch, *(argument.replace("DOWNLOADS", str(tmp_path)) for argument in arguments))
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert "Traceback" not in result.output
    assert {path.parts[-3] for path in files(project) - before} <= {"clean_train.safetensors", "clean_test.safetensors"}
    found = recorded(project)
    assert (len(found), found[-1].status) == (runs_before + 1, "FAILED")
    assert message in found[-1].error


PARAMETERS = {
    "poison": (["--params=poison=opps"], "unknown poison 'opps'"),
    "model": (["--params=model=resnet81"], "unknown model 'resnet81'"),
    "parameter": (["--params=train.epoch=3"], "unknown parameter 'train.epoch'"),
    "budget": (["--params=craft.lsp.l2=-1"], "parameter 'craft.lsp.l2': expected greater than 0, got -1"),
    "another recovery": (
        ["--params=recovery=jpeg"],
        "recovery: expected 'orthogonal_projection' in this pipeline, got 'jpeg': --pipeline=recover runs any",
    ),
    "an epoch that is not trained": (["--params=probe.epochs=[3]"], "probe.epochs: expected at most 2, the epochs of the training, got 3"),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_wrong_parameter_is_one_line_and_leaves_nothing(case, project, monkeypatch):
    arguments, message = PARAMETERS[case]
    before, runs_before = sorted((project / "data").rglob("*")), len(recorded(project))
    result = command(project, monkeypatch, *arguments)
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert sorted((project / "data").rglob("*")) == before
    assert len(recorded(project)) == runs_before


def command(project: Path, monkeypatch, *arguments: str):
    """Run the main job by its command, where outputs are missing."""
    monkeypatch.chdir(project)
    env = () if any(argument.startswith("--env") for argument in arguments) else ("--env=test",)
    return CliRunner().invoke(run_command, ["--pipeline=orthoproj", "--only-missing-outputs", *env, *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--pipeline=orthoproj", "--env=tset"],
            "Error: unknown environment 'tset'; known: base, cifar10, cifar100, cifar100_fast, cifar10_fast, cifar10_plain, cifar10_small, "
            "folder, hf, imagenet100, local, mnist, svhn, test (did you mean 'test'?)",
        ),
        (["--pipeline=orthopro", "--env=test"], "Error: unknown pipeline 'orthopro'; known: "),
    ],
)
def test_an_unknown_environment_or_pipeline_is_one_line(arguments, message, project, monkeypatch):
    monkeypatch.chdir(project)
    before = files(project)
    result = CliRunner().invoke(run_command, arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert files(project) == before


def test_a_training_that_breaks_is_a_failed_run(project, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("the network fell over")

    monkeypatch.setattr("unlearnable.training.engine.Network.logits", broken)
    with pytest.raises(RuntimeError, match="fell over"):
        run(project, train={"epochs": 3})
    events = recorded(project)[-1].events
    assert {label: found[-1]["status"] for label, found in events.items()} == {"cell": "FAILED", "clean": "FAILED"}


def test_the_figures_have_a_picture_in_them(project):
    from PIL import Image

    figures = list((project / "data" / "08_reporting").rglob("*.png/*/*.png"))
    assert figures
    for path in figures:
        extrema = Image.open(path).convert("L").getextrema()
        assert extrema[1] - extrema[0] > 200


def test_pictures_have_room_for_ten_classes():
    images = make_images(60, classes=12)
    linear = LinearWeights(weights=np.ones((1, 12, 768), np.float32), centre=np.zeros(768, np.float32), train_accuracy=0.5)
    for figure in (examples_figure(images, images, images, CELL), directions_figure(images, images, linear, CELL)):
        assert len(figure.axes[0].get_xticks()) == 10


def test_a_picture_names_its_cell_and_each_column_its_class():
    """Class 1 has no image; names that look like formulas are names."""
    images = make_images(60, classes=3)
    images = replace(images.subset(np.flatnonzero(images.labels != 1)), class_names=("$cat$", "dog", "a very long name"))
    figure = examples_figure(images, images, images, CELL)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["$cat$", "a very lon…"]
    assert figure.get_suptitle() == "One image of each class: set, poison lsp, recovery jpeg, net, seed 3"
    figure.draw_without_rendering()


def test_every_curve_of_separability_has_a_look_of_its_own():
    """Twelve poisons that all reach the same accuracy at once: none is drawn as another."""
    fit = {"curve": [0.5, 1.0], "ended": "converged"}
    subjects = {name: {"models": {"linear": fit}} for name in [*(f"poison {number}" for number in range(12)), "clean images"]}
    [axes] = separability_figure(subjects, {"dataset": "set", "seed": 0}).axes
    curves = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in curves] == list(subjects)
    assert len({(line.get_color(), line.get_linestyle()) for line in curves}) == len(subjects)


def test_every_dataset_of_the_pipelines_is_in_the_catalog_with_a_layer():
    catalog = loader()["catalog"]
    for name in register_pipelines()["__default__"].datasets():
        if name != "parameters" and not name.startswith("params:"):
            assert catalog[name]["metadata"]["kedro-viz"]["layer"]


def test_the_lines_for_notebooks_load_what_a_run_made(project, monkeypatch):
    text = (ROOT / "notebooks" / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0].replace("env=None", 'env="test"')
    monkeypatch.chdir(project)
    found: dict = {}
    exec(code, found)  # noqa: S102
    assert found["scores"]["dataset"] == "digits"
    assert list(found["history"]["epoch"]) == [1, 2] * 3
    assert len(found["poisoned"]) == 300
    assert found["last"].is_last


def test_trainings_may_run_as_threads_with_the_same_result(project):
    with KedroSession.create(project, env="test") as session:
        session.run(pipeline_names=["orthoproj"], runner=ThreadRunner(max_workers=3))
    assert newest_scores(project)["accuracy"] == scores_of(project, "accuracy")["accuracy"]


def test_every_epoch_is_logged(project, caplog):
    caplog.set_level(logging.INFO, logger="unlearnable")
    run(project, seed=5)
    lines = [record.getMessage() for record in caplog.records if record.name == "unlearnable.hooks"]
    assert sum(line.startswith("crafted lsp in ") for line in lines) == 1
    assert [line.split(", loss")[0] for line in lines if "epoch" in line] == [
        f"{t}: epoch {e} of 2" for t in ("clean", "poisoned", "recovered") for e in (1, 2)
    ]
