"""Whole runs that are killed, interrupted, starved or broken: what they say, what they leave, and that the next one completes."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from tests.artifacts.test_artifacts import cut, emptied, flipped
from tests.artifacts.test_atomic import Faulty
from tests.conftest import copy_project
from tests.faults.cells import TINY, broken
from unlearnable.artifacts import atomic
from unlearnable.cli import run as run_command
from unlearnable.training.engine import Trainer


def slow(trials, timeout=3600):
    return pytest.param(trials, marks=[pytest.mark.slow, pytest.mark.timeout(timeout)])


# ---- kills, signals, many at once


@pytest.mark.parametrize("trials", [1, slow(10)])
def test_a_run_that_is_killed_goes_on_to_the_same_losses_and_weights(trials, run_module, tmp_path):
    found = run_module("cells", "resume", trials, tmp_path)
    precisions = ("float32", "bfloat16")[:trials]
    assert found["kills"] == len(precisions) * trials
    assert found["gone_on"] >= trials
    for precision in precisions:
        assert found[precision] == {"codes": [0, 0], "same": True, "broken": []}
    assert found["losses"] == 10 + 3 * trials


@pytest.mark.parametrize("trials", [2, slow(20)])
def test_a_signal_ends_a_run_cleanly(trials, run_module, tmp_path):
    found = run_module("cells", "signals", trials, tmp_path)
    assert set(found["codes"]) == {128}
    assert found["slowest"] < 30
    statuses = found["statuses"]  # a signal may come before there is a run to record
    assert set(statuses) == {"KILLED", "FINISHED"}
    assert (statuses["KILLED"] <= trials, statuses["FINISHED"]) == (True, 1)
    assert (found["next"], found["broken"], found["left"]) == (0, [], 0)


GROWTH_MIB, GROWTH_FILES = 100, 5


@pytest.mark.parametrize("trials", [4, slow(200, 7200)])
def test_two_studies_in_one_folder_lose_nothing_and_do_not_grow(trials, run_module, tmp_path):
    found = run_module("cells", "soak", trials, tmp_path)
    assert (found["codes"], found["lost"], found["doubled"]) == ([0, 0], 0, 0)
    assert (found["statuses"], found["broken"], found["left"]) == ({"FINISHED": trials}, [], 0)
    for study in found["studies"]:
        assert study["end"]["mib"] - study["early"]["mib"] < GROWTH_MIB
        assert study["end"]["files"] - study["early"]["files"] <= GROWTH_FILES


@pytest.mark.parametrize("trials", [1, slow(4)])
def test_every_runner_makes_the_same_bytes(trials, run_module, tmp_path):
    found = run_module("cells", "runners", trials, tmp_path)
    assert (found["runs"], found["different"]) == (3 * trials, 0)
    assert found["arrays"] >= 8


# ---- one run in this process


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = copy_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def command(pipeline="orthoproj", more="train.epochs=2"):
    """Run the command and return its exit code and its one line, or the empty string."""
    arguments = [f"--pipeline={pipeline}", "--env=test", "--only-missing-outputs", f"--params={TINY},{more}"]
    result = CliRunner().invoke(run_command, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return result.exit_code, " ".join(lines)


ALL = [pytest.param(pipeline, 1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]) for pipeline in ("ingest", "orthoproj")]


@pytest.mark.parametrize(("pipeline", "stride"), [("ingest", 9), *ALL])
def test_whichever_write_fails_the_run_says_so_and_the_next_one_completes(pipeline, stride, project, monkeypatch):
    """Fail the first write, sync or link of an artifact, then the one ``stride`` calls later, …"""
    for n in range(1, 1000, stride):
        monkeypatch.setattr(atomic, "os", Faulty(n, OSError(28, "No space left on device")))
        code, line = command(pipeline, "train.epochs=1")
        monkeypatch.setattr(atomic, "os", os)
        assert broken(project) == []
        if code == 0:
            break
        assert code == 1
        assert "No space left on device" in line
        shutil.rmtree(project / "data")  # each trial from nothing, so that the n-th call is the n-th of a whole run
    assert n > 20
    assert command(pipeline, "train.epochs=1") == (0, "")


def test_a_run_clears_away_what_killed_ones_have_left(project):
    left = project / "data" / "03_primary" / ".clean_train.safetensors.0123.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert command("ingest") == (0, "")
    assert not left.exists()


def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_checkpoint_before(project, monkeypatch):
    real, step = Trainer._computed, {"number": 0}

    def spoilt(self, *arguments):
        step["number"] += 1
        if step["number"] == 5:
            self.model.head.weight.data.fill_(float("nan"))
        return real(self, *arguments)

    monkeypatch.setattr(Trainer, "_computed", spoilt)
    code, line = command()
    assert code == 1
    assert "loss: expected a finite number, got nan at step 5, in epoch 2 of 2; checkpoints before it are kept" in line
    assert [path.name for path in (project / "data").rglob("epoch-*.safetensors")] == ["epoch-0001.safetensors"]
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert command() == (0, "")
    assert not list((project / "data").rglob("training-*"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "device: out of memory on the GPU: lower train.batch_size",
        ),
        (MemoryError(), "out of memory: lower train.batch_size"),
    ],
    ids=["GPU", "Python"],
)
def test_too_little_memory_is_one_line(error, said, project, monkeypatch):
    def step(self, *arguments):
        raise error

    monkeypatch.setattr(Trainer, "_computed", step)
    code, line = command()
    assert code == 1
    assert said in line
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert command() == (0, "")


def test_too_little_memory_for_torch_on_a_cpu_is_one_line(project, monkeypatch):
    monkeypatch.setattr(Trainer, "_computed", lambda self, *arguments: torch.empty(2**60))
    code, line = command()
    assert code == 1
    assert "out of memory: lower " in line


def test_too_many_open_files_are_one_line(project):
    assert command("ingest") == (0, "")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(project, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # one file at a time
    try:
        code, line = command()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert code == 1
    assert "Too many open files" in line
    assert command() == (0, "")


def test_a_read_error_is_one_line_and_sets_nothing_aside(project, monkeypatch):
    assert command("ingest") == (0, "")
    real = atomic.Path.open

    def opened(self, *options, **more):
        if self.name == "clean_train.safetensors":
            raise OSError(5, "Input/output error", str(self))
        return real(self, *options, **more)

    monkeypatch.setattr(atomic.Path, "open", opened)
    code, line = command()
    assert code == 1
    assert "Input/output error" in line
    assert "clean_train.safetensors" in line
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert not list((project / "data").rglob("*.damaged"))
    assert command() == (0, "")


READ_ONLY = ("unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"')


def test_a_data_folder_that_may_not_be_written_is_one_line(project):
    """Root may write whatever the modes are, so that it takes a mount."""
    before = [*READ_ONLY, str(project / "data")]
    if shutil.which("unshare") is None or subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a folder read-only")
    kedro = [*before, sys.executable, "-m", "kedro", "run", "--pipeline=ingest", "--env=test", f"--params={TINY}"]
    done = subprocess.run(kedro, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "Error: " in done.stderr
    assert "Read-only file system" in done.stderr
    assert command("ingest") == (0, "")


# ---- artifacts that were damaged since they were made


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project in which the main job has ended."""
    folder = copy_project(tmp_path_factory.mktemp("finished") / "project")
    with contextlib.chdir(folder):
        assert command() == (0, "")
    return folder


IN_TURN = (cut, emptied, flipped)
NAMES = ("clean_train.safetensors", "poisoned_train.safetensors", "epoch-0002.last.safetensors", "scores.json")
DAMAGES = [
    pytest.param(damage, name, marks=() if damage is flipped or damage is IN_TURN[place % 2] else pytest.mark.slow)
    for place, name in enumerate(NAMES)
    for damage in IN_TURN
]


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_a_damaged_artifact_is_made_anew(damage, name, finished, monkeypatch):
    """Where its size gives it away at once by the same run, else by the one after the run that noticed."""
    monkeypatch.chdir(finished)
    damage(max(path for path in (finished / "data").rglob(name) if path.is_file()))
    if name != "scores.json":  # which is read in any case; the rest for what is made of it
        shutil.rmtree(finished / "data" / "08_reporting")
    code, line = command()
    if code:
        assert damage is flipped
        assert "run again to make it again" in line
        code, line = command()
    assert (code, line) == (0, "")
    assert broken(finished) == []
