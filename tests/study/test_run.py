"""Studies in ``--env=test``, run by the command as users do: killed, resumed, reported."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import chdir, contextmanager
from pathlib import Path

import mlflow
import pandas as pd
import psutil
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from tests import forks
from tests.conftest import copy_project
from tests.study.orphan import begin
from unlearnable.cli import study as study_command
from unlearnable.study import executors
from unlearnable.study.gather import _made_on, score_hash
from unlearnable.study.journal import Journal
from unlearnable.tracking.delivery import MODULE
from unlearnable.tracking.record import read, records

STUDY = {
    "description": "Whether a study runs.",
    "poisons": ["ops"],
    "recoveries": ["none", "grayscale"],
    "models": ["tiny_cnn"],
    "seeds": [0],
    "parameters": {"ingest.train_size": 100, "ingest.test_size": 50, "train.epochs": 1, "craft.seed": 0},
}
QUIET = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


def write_study(project: Path, name: str, **changed) -> Path:
    file = project / "conf" / "test" / "study" / f"{name}.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump({**STUDY, **changed}))
    return file


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kedro", "study", *arguments, "--env=test"]


def study(project: Path, *arguments: str, **environment: str) -> Result:
    """Run the command in this process, which has imported everything; its runs are processes all the same."""
    forks.ready()
    with chdir(project):
        told = CliRunner(env={**QUIET, **environment}).invoke(study_command, [*arguments, "--env=test"])
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    return told


def scores(project: Path) -> dict[str, list[dict]]:
    """Return the versions of the scores of each recovery from ``ops``."""
    found: dict[str, list[dict]] = {}
    for path in sorted((project / "data" / "08_reporting").rglob("scores.json/*/scores.json")):
        content = json.loads(path.read_text())
        if content["poison"] == "ops":
            found.setdefault(content["recovery"], []).append(content)
    return found


def made(project: Path, name: str) -> list[str]:
    """Return the keys of the parts that were made, as often as they were."""
    events = [event for path in records(project / "data" / "09_tracking" / "studies" / name) for event, _ in read(path)]
    return [
        event["label"] for event in events if event["event"] == "end" and event.get("status") == "FINISHED" and event["label"] != "cell"
    ]


@pytest.fixture(scope="module")
def fed_by() -> set[int]:
    """The processes that were seen to feed MLflow while the study ran for the first time."""
    return set()


@pytest.fixture(scope="module")
def project(tmp_path_factory, fed_by) -> Path:
    """A project whose study was killed after its first cell and resumed."""
    folder = copy_project(tmp_path_factory.mktemp("studies") / "project", tracked=True)
    write_study(folder, "small")
    log = folder / "first.log"
    with log.open("w") as output:
        first = subprocess.Popen(
            command("run", "small", "--processes=1", "--threads=1"), cwd=folder, env={**os.environ, **QUIET}, stdout=output, stderr=output
        )
    deadline = time.monotonic() + 250
    while time.monotonic() < deadline and first.poll() is None and not any(key.endswith("/scores.json") for key in made(folder, "small")):
        fed_by.update(feeding(folder))
        time.sleep(0.5)  # each look at all processes takes a twentieth of a second of CPU
    assert first.poll() is None, log.read_text()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    return folder


def test_a_killed_study_leaves_no_run_behind_and_goes_on_without_repeating(project):
    for _ in range(200):
        if not running(project):
            break
        time.sleep(0.1)
    assert running(project) == []
    before = scores(project)
    again = study(project, "run", "small", "--processes=2", "--threads=1")
    assert again.exit_code == 0, again.stderr + again.stdout
    after = scores(project)
    assert set(after) == set(STUDY["recoveries"])
    assert {recovery: len(versions) for recovery, versions in after.items()} == dict.fromkeys(after, 1)
    assert all(after[recovery] == versions for recovery, versions in before.items())
    finished = made(project, "small")
    assert len(finished) == len(set(finished)), "a part was made twice"


def test_a_run_dies_with_the_study_that_started_it(tmp_path):
    asked = forks.fork(begin, tmp_path / "number")
    deadline = time.monotonic() + 30
    while not ((tmp_path / "number").exists() and (tmp_path / "number").read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    run = psutil.Process(int((tmp_path / "number").read_text()))
    asked.kill()
    asked.join()
    deadline = time.monotonic() + 10
    while lives(run) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(run)


def test_what_runs_are_forks_of_has_not_started_cuda(tmp_path):
    """Or none of them could: CUDA does not work in a fork of a process that has started it."""
    process = forks.fork(ask_for_cuda, tmp_path / "said")
    process.join()
    assert (tmp_path / "said").read_text() == "before False, after True"


def ask_for_cuda(file) -> None:
    before = torch._C._cuda_isInBadFork()
    torch._C._cuda_getDeviceCount()
    reads, writes = os.pipe()
    if os.fork() == 0:
        os.write(writes, str(torch._C._cuda_isInBadFork()).encode())
        os._exit(0)
    os.wait()
    file.write_text(f"before {before}, after {os.read(reads, 9).decode()}")


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def running(project: Path) -> list[str]:
    """Return the command lines of the runs in this project that live, and of the process that they are forks of."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if "multiprocessing.forkserver" in line and process.info["cwd"] == str(project) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def feeding(project: Path) -> set[int]:
    """Return the processes that feed MLflow from records in this project."""
    living = psutil.process_iter(["cmdline", "cwd"])
    return {each.pid for each in living if MODULE in (each.info["cmdline"] or ()) and each.info["cwd"] == str(project)}


def test_a_second_run_makes_nothing(project):
    again = study(project, "run", "small", "--threads=1")
    assert again.exit_code == 0
    assert "2 of them are there; 0 runs to make" in again.stdout


def test_its_status_counts_cells(project):
    shown = study(project, "status", "small").stdout
    assert re.search(r"ops\s*│\s*1 done\s*│\s*1 done", shown)
    assert "2 done, 0 running, 0 failed, 0 waiting" in shown


def test_its_runs_have_one_parent_in_mlflow(project):
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    found = mlflow.search_runs(experiment_names=["unlearnable"])
    parents = found[(found["tags.unlearnable.study"] == "small") & found["tags.mlflow.parentRunId"].isna()]
    assert len(parents) == 1
    assert parents.iloc[0]["status"] == "FINISHED"
    assert parents.iloc[0]["metrics.cells.done"] == 2
    cells = found[(found["tags.mlflow.parentRunId"] == parents.iloc[0]["run_id"]) & found["tags.recipe.scores"].notna()]
    assert {f"{run['params.recovery']}" for _, run in cells[cells["status"] == "FINISHED"].iterrows()} == set(STUDY["recoveries"])


def test_its_runs_share_the_process_that_feeds_mlflow(project, fed_by):
    assert len(fed_by) == 1


def test_its_page_and_table_hold_what_cells_found(project, tmp_path):
    told = study(project, "report", "small")
    assert told.exit_code == 0, told.stderr
    folder = project / "data" / "08_reporting" / "studies" / "small"
    cells = pd.read_parquet(folder / "cells.parquet").set_index("recovery")
    for recovery, [found] in scores(project).items():
        row = cells.loc[recovery]
        assert row["accuracy"] == found["accuracy"]["recovered"]["last"]
        assert row["recipe_hash"] == found["recipe_hash"]
        assert row["score_hash"] == score_hash(found)
        assert row["threads"] == "1"
        assert json.loads(row["made_on"]) == found["made_on"]
        assert {training["device"] for training in found["made_on"].values()} == {"cpu"}
        assert "/runs/" in row["run_url"]
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    [parent] = mlflow.search_runs(experiment_names=["unlearnable"], filter_string="attributes.run_name = 'study-small'")["run_id"]
    shown = Path(mlflow.artifacts.download_artifacts(run_id=parent, dst_path=str(tmp_path)))
    assert {path.name: path.read_bytes() for path in shown.iterdir()} == {
        name: (folder / name).read_bytes() for name in ("report.html", "cells.parquet")
    }
    page = (folder / "report.html").read_text()
    assert STUDY["description"] in page
    assert "grayscale" in page


def test_the_hash_of_scores_is_of_the_result_alone():
    result = {"seed": 0, "accuracy": 0.5}
    made = {"seconds": 1.0, "threads": 1, "made_on": {"clean": {"device": "cuda"}}, "versions": {"torch": "9"}}
    assert score_hash(result | made) == score_hash(result)
    assert score_hash(result | {"accuracy": 0.6}) != score_hash(result)


def test_scores_from_before_it_was_noted_do_not_say_what_they_were_made_on():
    assert _made_on({"accuracy": {}}) == "{}"


def test_a_cell_that_fails_is_told_and_the_others_go_on(project):
    overrides = {"fine": {}, "broken": {"train.batch_size": 5000}}
    write_study(project, "failing", overrides=overrides, poisons=["none"], recoveries=["none", "grayscale"])
    told = study(project, "run", "failing", "--tries=1")
    assert told.exit_code == 1
    assert "train.batch_size: expected at most 100, the images of the training set, got 5000" in told.stdout
    assert "was not made" in told.stdout
    assert "the page: kedro study report failing --env=test" in " ".join(told.stdout.split())
    shown = study(project, "status", "failing").stdout
    assert "2 done, 0 running, 2 failed, 0 waiting" in shown
    assert "failed none none tiny_cnn seed 0 broken: train clean" in " ".join(shown.split())


@pytest.mark.slow
def test_the_same_cells_one_by_one_and_on_dask_have_the_same_scores(project, tmp_path):
    assert study(project, "run", "small", "--threads=1").exit_code == 0  # where no test before this one has resumed it
    other = copy_project(tmp_path / "project")
    write_study(other, "small")
    told = study(other, "run", "small", "--executor=dask", "--processes=2", "--threads=1")
    assert told.exit_code == 0, told.stderr + told.stdout
    one, two = ({recovery: score_hash(found) for recovery, [found] in scores(folder).items()} for folder in (project, other))
    assert one == two


@pytest.mark.slow
def test_ctrl_c_ends_its_runs_and_says_how_to_go_on(tmp_path):
    folder = copy_project(tmp_path / "project")
    write_study(folder, "long", parameters={**STUDY["parameters"], "train.epochs": 5000})
    asked = subprocess.Popen(
        command("run", "long", "--processes=1"), cwd=folder, env={**os.environ, **QUIET}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((folder / "data").glob("06_models/**/epoch-*.safetensors")):
        time.sleep(0.2)
    asked.send_signal(signal.SIGINT)
    _, said = asked.communicate(timeout=60)
    assert asked.returncode == 130
    assert "Interrupted: finished results are kept; run the same command again to resume" in said
    assert running(folder) == []
    statuses = [list(read(path))[-1][0].get("status") for path in records(folder / "data" / "09_tracking")]
    assert "KILLED" in statuses
    assert made(folder, "long")[0].startswith("ingest")


def test_only_one_command_runs_a_study_at_a_time(tmp_path):
    folder = copy_project(tmp_path / "project")
    write_study(folder, "small")
    with open_journal(folder / "data" / "09_tracking" / "studies" / "small"):
        told = study(folder, "run", "small")
    assert told.exit_code == 1
    assert "study 'small': expected no other process to be running it, got one that writes" in " ".join(told.stderr.split())


@contextmanager
def open_journal(folder: Path):
    journal = Journal(folder)
    yield
    journal.close("FINISHED")


def test_a_dry_run_prints_cells_and_time_and_makes_nothing(tmp_path):
    folder = copy_project(tmp_path / "project")
    write_study(folder, "small")
    told = study(folder, "run", "small", "--dry-run", "--processes=3")
    assert told.exit_code == 0, told.stderr
    assert "2 waiting" in told.stdout
    assert re.search(r"6 runs to make; how long they take is known once some are made\s*$", told.stdout)
    assert not (folder / "data" / "08_reporting").exists()
    assert not (folder / "mlflow.db").exists()


def test_studies_are_listed_and_one_without_a_finished_cell_has_no_report(tmp_path):
    folder = copy_project(tmp_path / "project")
    write_study(folder, "small")
    listed = study(folder, "list").stdout
    assert re.search(r"small\W+test\W+" + STUDY["description"].split()[0], listed)
    assert "recoveries" not in listed
    with chdir(folder):
        everything = CliRunner().invoke(study_command, ["list"]).stdout
    assert re.search(r"recoveries\W+cifar10_small\W", everything)
    assert re.search(r"small\W+test\W", everything)
    told = study(folder, "report", "small")
    assert told.exit_code == 1
    expected = "Error: study small: expected at least one finished cell, got none; first: kedro study run small --env=test"
    assert [line for line in told.stderr.splitlines() if line.startswith("Error")] == [expected]
    assert not (folder / "data" / "08_reporting").exists()


WRONG = {
    "scheduler without dask": (["run", "small", "--scheduler=tcp://127.0.0.1:1"], "--scheduler: expected --executor=dask beside it"),
    "scheduler that does not answer": (
        ["run", "small", "--executor=dask", "--scheduler=tcp://127.0.0.1:9"],
        "--scheduler: expected a Dask scheduler that answers at tcp://127.0.0.1:9",
    ),
    "unknown study": (["run", "smal"], "unknown study 'smal'; known: demo, small"),
}


@pytest.mark.parametrize("name", ["scheduler without dask", "scheduler that does not answer", "unknown study"])
def test_a_wrong_command_ends_with_one_line(tmp_path, name, monkeypatch):
    monkeypatch.setattr(executors, "PATIENCE_S", 1)
    folder = copy_project(tmp_path / "project")
    write_study(folder, "small")
    arguments, expected = WRONG[name]
    told = study(folder, *arguments)
    assert told.exit_code == 1
    [line] = [line for line in told.stderr.splitlines() if line.startswith("Error")]
    assert expected in line
    assert "Traceback" not in told.stderr
