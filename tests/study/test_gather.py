"""What a study finds by its probes is what their scores say."""

import io
import json

import pandas as pd
import pytest
import yaml
from kedro.framework.session import KedroSession

from tests.conftest import copy_golden
from unlearnable.artifacts.storage import whole_versions
from unlearnable.reporting.rows import unfinished
from unlearnable.reporting.tables import summary
from unlearnable.study.gather import gather
from unlearnable.study.plan import plan

CHAINS = ["dfr", "separability", "learnability"]
LOW = {"draws": 3, "quantile": 0.1, "radii": [0.01, 2.0]}  # three draws bound a low quantile, but not so far away


@pytest.fixture(scope="module")
def project(golden, tmp_path_factory):
    """A project in which every probe of one cell has run."""
    project = copy_golden(golden, tmp_path_factory.mktemp("gather") / "project")
    with KedroSession.create(project, env="test", runtime_params={"recovery": "none", "learnability": LOW}) as session:
        session.run(pipeline_names=CHAINS, only_missing_outputs=True)
    file = project / "conf" / "test" / "study" / "probes.yml"
    file.parent.mkdir(exist_ok=True)
    cell = {"poisons": ["lsp"], "models": ["tiny_cnn"], "seeds": [0]}
    file.write_text(yaml.safe_dump(cell | {"chains": CHAINS, "parameters": {"learnability": LOW}}))
    return project


@pytest.fixture(scope="module")
def asked(project):
    return plan("probes", project=project, env="test")


@pytest.fixture(scope="module")
def found(asked):
    return gather(asked)


@pytest.fixture(scope="module")
def files(asked, project):
    """The content of what each chain has left, by chain and name."""
    newest = {(cell.chain, name): whole_versions(project / path)[-1] for cell in asked.grid.cells for name, path in cell.paths.items()}
    return {key: path.read_bytes() for key, path in newest.items()}


@pytest.fixture(scope="module")
def scores(files):
    return {chain: json.loads(files[chain, f"{chain}_scores"])[chain] for chain in CHAINS}


def test_all_cells_of_probes_are_found(found):
    assert (len(found.unfinished), len(found.cells)) == (0, 0)


def test_new_heads_are_those_of_the_table(found, files):
    table = pd.read_parquet(io.BytesIO(files["dfr", "dfr_table"]))
    assert len(table)
    assert found.dfr["test_accuracy"].tolist() == table["test_accuracy"].tolist()
    assert set(found.dfr["poison"]) == {"lsp"}


def test_fits_are_those_of_the_scores(found, scores):
    linear = found.separability.query("subject == 'perturbations' and fit == 'linear'").iloc[0]
    assert linear["train_accuracy"] == scores["separability"]["perturbations"]["models"]["linear"]["train_accuracy"]


def test_bounds_are_those_of_the_scores(found, scores):
    said, rows = scores["learnability"], found.learnability.set_index("radius")
    assert rows["bound"][0.01] == said["bounds"]["0.01"]
    assert said["bounds"]["2"] is None
    assert pd.isna(rows["bound"][2.0])
    assert set(rows["plain_accuracy"]) == {said["plain_accuracy"]}
    assert (set(rows["deviation"]), set(rows["quantile"]), set(rows["model"])) == ({0.25}, {0.1}, {"tiny_cnn"})


def test_probes_of_one_network_that_are_not_finished_are_cells_of_their_own(project):
    file = project / "conf" / "test" / "study" / "later.yml"
    file.write_text(yaml.safe_dump({"poisons": ["ops"], "models": ["tiny_cnn"], "seeds": [7], "chains": ["recover", *CHAINS]}))
    found = gather(plan("later", project=project, env="test"))
    assert found.unfinished["chain"].tolist() == ["recover", *CHAINS]
    assert len(summary(found)) == 0
    assert [row[2].text for row in unfinished(found).rows] == ["recover", *CHAINS]
