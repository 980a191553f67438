"""A study on a Dask cluster of two workers, with an MLflow server on PostgreSQL and an S3 server: one worker is killed in the middle."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from mlflow import MlflowClient

from tests.conftest import copy_project
from tests.study.servers import KEYS, dask_scheduler, dask_worker, files, postgres, s3
from tests.study.test_run import command, made, study, write_study
from tests.tracking.servers import HOST, free_port, mlflow_server
from unlearnable import __version__
from unlearnable.errors import InputError
from unlearnable.study.executors import dask

pytestmark = pytest.mark.system

SCORES = "unlearnable/shared/data/08_reporting"
MANY = {"recoveries": ["none", "grayscale", "mixup"]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Servers, a project that starts studies, and two more in which workers were started; no folder is shared."""
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        open_to_all = Path(stack.enter_context(tempfile.TemporaryDirectory()))  # pytest's folders are root's alone
        open_to_all.chmod(0o755)
        database = stack.enter_context(postgres(open_to_all / "postgres"))
        store = stack.enter_context(s3(folder))
        port = free_port()
        keys = {"AWS_ACCESS_KEY_ID": KEYS["key"], "AWS_SECRET_ACCESS_KEY": KEYS["secret"], "MLFLOW_S3_ENDPOINT_URL": store}
        stack.enter_context(mlflow_server(folder, port, database, "s3://unlearnable/mlflow", **keys))
        scheduler = stack.enter_context(dask_scheduler(folder))
        projects = [_machine(folder / name, f"http://{HOST}:{port}", store) for name in ("home", "first", "second")]
        workers = [stack.enter_context(dask_worker(project, scheduler)) for project in projects[1:]]
        yield SimpleNamespace(
            scheduler=scheduler, home=projects[0], projects=projects[1:], workers=workers, s3=files(store), uri=f"http://{HOST}:{port}"
        )


def _machine(project: Path, tracking: str, store: str) -> Path:
    """Return a project as it lies on a machine of its own, which knows of the servers from ``conf/local``."""
    copy_project(project)
    local = project / "conf" / "local"
    local.mkdir(exist_ok=True)
    settings = {
        "mlflow": {"tracking_uri": tracking},
        "storage": {"url": "s3://unlearnable/shared", "credentials": "shared"},
        "credentials": {"shared": {**KEYS, "client_kwargs": {"endpoint_url": store}}},
    }
    for name, values in settings.items():
        (local / f"{name}.yml").write_text(yaml.safe_dump(values))
    write_study(project, "small", **MANY)
    return project


def stored(cluster) -> dict[str, list[dict]]:
    """Return the versions of the scores of each recovery that lie in the storage."""
    found: dict[str, list[dict]] = {}
    for path in cluster.s3.find(SCORES) if cluster.s3.exists(SCORES) else ():
        if path.endswith("/scores.json"):
            content = json.loads(cluster.s3.cat_file(path))
            found.setdefault(content["recovery"], []).append(content)
    return found


@pytest.mark.timeout(600)
def test_a_worker_is_killed_and_nothing_is_lost_or_done_twice(cluster, tmp_path):
    log = (tmp_path / "study.log").open("w+")
    arguments = command("run", "small", "--executor=dask", f"--scheduler={cluster.scheduler}")
    environment = {**os.environ, "DO_NOT_TRACK": "true"}
    running = subprocess.Popen(arguments, cwd=cluster.home, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 500
    while not _cells_made(cluster.home) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.5)
    victim = next(place for place, project in enumerate(cluster.projects) if _scores_here(project))
    os.killpg(cluster.workers[victim].pid, signal.SIGKILL)
    code = running.wait(500)
    log.seek(0)
    told = log.read()
    assert code == 0, told

    found = stored(cluster)
    assert {recovery: len(versions) for recovery, versions in found.items()} == dict.fromkeys(MANY["recoveries"], 1)
    assert Counter(made(cluster.home, "small")).most_common(1)[0][1] == 1
    assert "3 of them are there; 0 runs to make" in study(cluster.home, "run", "small").stdout.replace("\n", " ")


def _cells_made(project: Path) -> list[str]:
    """Return the keys of the cells of which the study was told that they are there: MLflow has the runs of those."""
    return [key for key in made(project, "small") if key.endswith("/scores.json")]


def _scores_here(project: Path) -> list[Path]:
    return list((project / "data" / "08_reporting").rglob("scores.json/*/scores.json"))


def test_the_server_has_a_parent_and_a_finished_run_of_each_cell(cluster):
    client = MlflowClient(cluster.uri)
    [experiment] = [each for each in client.search_experiments() if each.name == "unlearnable"]
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    [parent] = [run for run in found if run.data.tags.get("unlearnable.study") == "small" and "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["cells.done"] == 3
    cells = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id and "recipe.scores" in run.data.tags]
    assert {run.data.params["recovery"] for run in cells if run.info.status == "FINISHED"} == set(MANY["recoveries"])
    [one] = [run for run in cells if run.data.params["recovery"] == "mixup" and run.info.status == "FINISHED"]
    assert "scores.json" in {file.path for file in client.list_artifacts(one.info.run_id)}
    assert cluster.s3.find("unlearnable/mlflow"), "artifacts of MLflow are in S3 too"


def test_the_page_is_made_where_no_cell_was(cluster):
    assert not _scores_here(cluster.home)
    told = study(cluster.home, "report", "small")
    assert told.exit_code == 0, told.stderr
    page = (cluster.home / "data" / "08_reporting" / "studies" / "small" / "report.html").read_text()
    for recovery in MANY["recoveries"]:
        assert recovery in page
    assert page.count(f"{cluster.uri}/#/experiments/") >= 3
    assert len(_scores_here(cluster.home)) == 3


def test_a_storage_that_refuses_is_said_in_one_line(cluster):
    file = cluster.home / "conf" / "local" / "storage.yml"
    before = file.read_text()
    file.write_text(yaml.safe_dump(yaml.safe_load(before) | {"credentials": None}))
    told = study(cluster.home, "run", "small", AWS_EC2_METADATA_DISABLED="true", AWS_ENDPOINT_URL=cluster.s3.client_kwargs["endpoint_url"])
    file.write_text(before)
    assert told.exit_code == 1
    [line] = [line for line in told.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: storage s3://unlearnable/shared: expected to find files there, got NoCredentialsError")


def refusal(scheduler: str) -> str:
    """Return why the workers of a cluster are refused."""
    with pytest.raises(InputError) as error, dask(scheduler, 1):
        pass
    return str(error.value)


def test_a_worker_with_another_version_is_named(tmp_path):
    other = copy_project(tmp_path / "other")
    version = other / "src" / "unlearnable" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "9.'))
    with dask_scheduler(tmp_path) as scheduler, dask_worker(other, scheduler) as worker:
        assert refusal(scheduler).endswith(f": expected unlearnable {__version__}, got 9.{__version__}")
        assert worker.poll() is None


def test_workers_and_schedulers_outside_the_project_are_named(cluster, tmp_path):
    (tmp_path / "src").symlink_to(cluster.home / "src")
    with dask_scheduler(tmp_path) as scheduler, dask_worker(tmp_path, scheduler):
        assert refusal(scheduler).endswith(f": expected working directory a project's folder, got {tmp_path}")
    with dask_scheduler(tmp_path, sources="") as scheduler, dask_worker(cluster.home, scheduler):
        assert refusal(scheduler).startswith(f"scheduler {scheduler}: expected it to be started with this project's packages")
