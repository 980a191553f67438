"""The whole project in `--env=test` with a poison as its authors released it."""

import json

import numpy as np
import pytest
import safetensors.numpy
import yaml
from click.testing import CliRunner
from kedro.framework.session import KedroSession

from tests.conftest import copy_project, recorded
from tests.sources import releases
from unlearnable.cli import run as run_command
from unlearnable.sources.digits import DigitsOnPhotographs

ENTRY = {
    "type": "unlearnable.sources.released.ReleasedPoison",
    "path": "${param:data_root}/noise.pkl",
    "format": "rem_pickle",
    "filepath": "data/02_intermediate/${dataset:}/released",
    "metadata": {"kedro-viz": {"layer": "raw"}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with its image sets, and two releases beside its datasets."""
    folder = copy_project(tmp_path_factory.mktemp("released") / "project")
    write_entry(folder)
    noise = np.random.default_rng(0).integers(-8, 9, size=(300, 3, 32, 32)).astype(np.int8)
    releases.write_pickle(folder / "data" / "01_raw" / "noise.pkl", noise)
    clean = DigitsOnPhotographs(name="digits", train_size=300, test_size=100, seed=0).load().train
    order = np.random.default_rng(1).permutation(300)[:260]
    images = (clean.images[order] + noise[order].astype(int)).clip(0, 255) / 255
    releases.write_npy(folder / "data" / "01_raw" / "ntga" / "x_train.npy", releases.last(images))
    releases.write_npy(folder / "data" / "01_raw" / "ntga" / "y_train.npy", clean.labels[order])
    run(folder, "ingest")
    return folder


def write_entry(project, **changes):
    path = project / "conf" / "test" / "catalog.yml"
    catalog = yaml.safe_load(path.read_text()) | {"released_poison": ENTRY | changes}
    path.write_text(yaml.safe_dump(catalog))


def run(project, pipeline="orthoproj", **parameters):
    with KedroSession.create(project, env="test", runtime_params={"poison": "released", **parameters}) as session:
        session.run(pipeline_names=[pipeline], only_missing_outputs=True)
    return sorted((project / "data").rglob("poisoned_train.safetensors/*/*.safetensors"))


def files(project):
    """All artifacts; what a run records of itself is none."""
    return {path for path in (project / "data").rglob("*") if path.is_file() and "09_tracking" not in path.parts}


def copies(project):
    return list((project / "data" / "02_intermediate" / "digits" / "released").rglob("*.safetensors"))


def test_a_release_of_fewer_images_is_read_once_and_runs_to_the_table(project):
    write_entry(project, path="${param:data_root}/ntga", format="ntga_arrays")
    made = run(project, train={"epochs": 1})
    assert len(made) == 1
    assert len(safetensors.numpy.load(made[0].read_bytes())["images"]) == 260
    [path] = (project / "data" / "08_reporting").rglob("scores.json/*/scores.json")
    scores = json.loads(path.read_text())
    assert scores["poison"] == "released"
    assert set(scores["accuracy"]) == {"clean", "poisoned", "recovered"}
    assert len(copies(project)) == 1
    again = run(project, "craft_poison", seed=1)
    assert again == made
    assert len(copies(project)) == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": None}, "released_poison.path: expected the file or folder of a release, got none"),
        ({"path": "nowhere"}, "released_poison.path: expected a file or folder, got "),
        ({"format": "rem"}, "released_poison.format: expected one of "),
        ({"format": "em_tensor"}, "expected floats in units of [0, 1], got int8"),
        ({"budget": {"linf": 0.01}}, "expected Linf of at most 0.01 from the clean image, got 0.03137"),
    ],
    ids=["no path", "no file", "no format", "another format", "budget"],
)
def test_a_wrong_release_is_one_line_and_no_version(entry, message, project, monkeypatch):
    write_entry(project, **entry)
    monkeypatch.chdir(project)
    before = files(project)
    arguments = ["--pipeline=craft_poison", "--env=test", "--params=poison=released"]
    result = CliRunner().invoke(run_command, arguments)
    write_entry(project)
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert message in line
    newest = recorded(project)[-1]
    assert newest.status == "FAILED"
    assert message in newest.error
    assert "Traceback" not in result.output
    assert files(project) == before
